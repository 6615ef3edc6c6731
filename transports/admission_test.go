package transports

import (
	"testing"

	"hubstream/negotiate/access"
)

// arrives is a request of a user from an address, in a hub.
func arrives(hub, address string) *request {
	return &request{hub: hub, who: access.Identity{Address: address}}
}

// What is counted of who has left would stay for ever, and addresses and users are made up freely.
func TestAdmissionForgetsWhoHasLeft(t *testing.T) {
	t.Parallel()
	a := admission{perUser: 2, perAddress: 2}
	var left []departure
	for _, user := range []string{"ann", "ann", "bob"} {
		leave, full := a.enter(arrives("chat", "10.0.0."+user), user, false)
		if full != "" {
			t.Fatalf("%s is refused: %s", user, full)
		}
		left = append(left, leave)
	}
	if _, full := a.enter(arrives("chat", "10.0.0.9"), "ann", false); full == "" {
		t.Error("a third connection of a user who may have two is let in")
	}
	for _, leave := range left {
		leave.call()
	}
	if len(a.open) != 0 {
		t.Errorf("%v is counted when nobody is there", a.open)
	}
}

// Who has no name, and who has no address that is known, is not one with all the others who have none.
func TestAdmissionDoesNotCountTheNamelessTogether(t *testing.T) {
	t.Parallel()
	a := admission{perUser: 1, perAddress: 1}
	for range 3 {
		if _, full := a.enter(arrives("chat", ""), "", false); full != "" {
			t.Errorf("refused: %s", full)
		}
	}
}

// Each limit holds alone, and that of users within their hub: there may be none for addresses.
func TestAdmissionCountsAUserInEachHub(t *testing.T) {
	t.Parallel()
	a := admission{perUser: 1}
	for _, hub := range []string{"chat", "news"} {
		if _, full := a.enter(arrives(hub, "10.0.0.1"), "ann", false); full != "" {
			t.Errorf("the first of a user in %s is refused: %s", hub, full)
		}
	}
	if _, full := a.enter(arrives("chat", "10.0.0.1"), "ann", false); full == "" {
		t.Error("a second connection of a user who may have one is let in")
	}
}
