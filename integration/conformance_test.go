package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/rawclient"
	"hubstream/negotiate/access"
)

// azure is a backend that calls Azure's REST API as its SDKs do: each request with a token of its own, and each at another node.
type azure struct {
	*guardedCluster
	hub  string
	turn int
}

// do makes a request to the next node, and fails unless it is answered so.
func (a *azure) do(method, path, body string, want int) rawclient.Answer {
	a.t.Helper()
	base := a.nodes[a.turn%len(a.nodes)].URL
	a.turn++
	path = strings.NewReplacer("H/", "/api/hubs/"+a.hub+"/", "V/", "/api/v1/hubs/"+a.hub+"/").Replace(path)
	address, err := url.Parse(base + path)
	if err != nil {
		a.t.Fatal(err)
	}
	token := a.sign(oldKey, access.Token{Audience: base + address.EscapedPath()})
	headers := []string{"Authorization", "Bearer " + token}
	if body != "" {
		headers = append(headers, "Content-Type", "application/json")
	}
	answer, err := rawclient.Do(a.t.Context(), method, base+path, body, headers...)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	if answer.Status != want {
		a.t.Fatalf("%s %s: got %d %s, want %d", method, path, answer.Status, answer.Body, want)
	}
	return answer
}

// absent is do for what must not be there, with the header that the SDKs decide by.
func (a *azure) absent(method, path, code string) {
	a.t.Helper()
	if got := a.do(method, path, "", http.StatusNotFound).Header.Get("x-ms-error-code"); got != code {
		a.t.Errorf("%s %s: x-ms-error-code is %q, want %q", method, path, got, code)
	}
}

func (a *azure) open(user, transport, protocol string) *jsclient.Conn {
	a.t.Helper()
	return sharedJS(a.t).Open(a.t, jsclient.Options{
		URL: a.proxy + "/client/?hub=" + a.hub, Transport: transport, Protocol: protocol, AccessToken: a.client(oldKey, a.hub, user),
	})
}

// message is a body of a send.
func message(n int) string { return fmt.Sprintf(`{"Target":"message","Arguments":[%d]}`, n) }

const v22, v24 = "?api-version=2022-06-01", "?api-version=2024-12-01"

// What Azure documents of its REST API, each request at another of three nodes that share a Valkey, with official clients over all
// transports as receivers.
func TestAzuresDocumentedOperations(t *testing.T) {
	t.Parallel()
	a := &azure{guardedCluster: newGuardedCluster(t), hub: newHub(t)}
	a.do("HEAD", "/api/health"+v22, "", http.StatusOK)
	a.do("HEAD", "/api/v1/health", "", http.StatusOK)
	a.absent("HEAD", "H/users/ann"+v22, "Warning.User.NotExisted")

	socket := a.open("ann", jsclient.WebSockets, jsclient.JSON)
	poll := a.open("ann", jsclient.LongPolling, jsclient.MessagePack)
	events := a.open("bob", jsclient.ServerSentEvents, jsclient.JSON)
	nobody := a.open("", jsclient.WebSockets, jsclient.MessagePack)
	all := []*jsclient.Conn{socket, poll, events, nobody}
	n := 0
	// sends makes a send, for these.
	sends := func(path string, to ...*jsclient.Conn) {
		t.Helper()
		n++
		a.do("POST", path, message(n), http.StatusAccepted)
		for _, conn := range to {
			conn.Expect("message", n)
		}
	}
	excluded := "&excluded=" + socket.ConnectionID + "&excluded=" + events.ConnectionID

	t.Log("sends to all and to users and connections")
	sends("H/:send"+v22, all...)
	sends("/api/hubs/"+a.hub+":send"+v22, all...)
	sends("H/:send"+v24+excluded, poll, nobody)
	sends("/api/v1/hubs/"+a.hub+"?"+excluded[1:], poll, nobody)
	sends("/api/v1-preview/hub/"+a.hub, all...)
	for _, path := range []string{"H/users/ann/:send" + v22, "V/users/ann", "/api/v1-preview/hub/" + a.hub + "/users/ann,cy"} {
		sends(path, socket, poll)
	}
	for _, path := range []string{"H/connections/" + events.ConnectionID + "/:send" + v22, "V/connections/" + events.ConnectionID} {
		sends(path, events)
	}
	for _, path := range []string{"H/users/x/:send" + v22, "H/groups/x/:send" + v22, "H/connections/x/:send" + v22, "V/groups/x"} {
		sends(path) // unknown: accepted, and nobody gets it
	}

	t.Log("groups of connections")
	a.absent("HEAD", "H/groups/a%2Fb%20c"+v22, "Warning.Group.NotExisted")
	a.do("PUT", "H/groups/a%2Fb%20c/connections/"+socket.ConnectionID+v22, "", http.StatusOK)
	a.do("PUT", "V/groups/a%2Fb%20c/connections/"+events.ConnectionID, "", http.StatusOK)
	a.do("HEAD", "H/groups/a%2Fb%20c"+v22, "", http.StatusOK)
	a.absent("PUT", "H/groups/g/connections/unknown"+v22, "Error.Connection.NotExisted")
	sends("H/groups/a%2Fb%20c/:send"+v22, socket, events)
	sends("V/groups/a%2Fb%20c?excluded="+socket.ConnectionID, events)
	a.do("DELETE", "H/groups/a%2Fb%20c/connections/"+socket.ConnectionID+v22, "", http.StatusOK)
	a.do("DELETE", "H/groups/a%2Fb%20c/connections/unknown"+v22, "", http.StatusOK)
	sends("H/groups/a%2Fb%20c/:send"+v22, events)
	a.do("DELETE", "H/connections/"+events.ConnectionID+"/groups"+v22, "", http.StatusOK)
	sends("H/groups/a%2Fb%20c/:send" + v22)

	t.Log("users in groups, with later connections, for a time, and for now")
	a.absent("GET", "H/users/ann/groups/g"+v22, "Info.User.NotInGroup")
	a.do("PUT", "H/users/ann/groups/g"+v22, "", http.StatusOK)
	a.do("GET", "H/users/ann/groups/g"+v22, "", http.StatusOK)
	sends("H/groups/g/:send"+v22, socket, poll)
	later := a.open("ann", jsclient.LongPolling, jsclient.JSON)
	sends("H/groups/g/:send"+v22, socket, poll, later)
	a.do("PUT", "V/groups/now/users/ann?ttl=0", "", http.StatusAccepted)
	last := a.open("ann", jsclient.WebSockets, jsclient.JSON)
	sends("H/groups/now/:send"+v22, socket, poll, later)
	sends("H/groups/g/:send"+v22, socket, poll, later, last)
	a.do("PUT", "H/users/bob/groups/soon"+v22+"&ttl=2", "", http.StatusOK)
	sends("H/groups/soon/:send"+v22, events)
	for deadline := time.Now().Add(jsclient.Patience); ; time.Sleep(100 * time.Millisecond) {
		answer := a.do("GET", "H/connections/"+events.ConnectionID, "", http.StatusOK)
		if !strings.Contains(string(answer.Body), `"soon"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("bob is in the group still: %s", answer.Body)
		}
	}
	sends("H/groups/soon/:send" + v22)
	a.do("DELETE", "H/users/ann/groups/g"+v22, "", http.StatusNoContent)
	a.do("DELETE", "V/users/ann/groups", "", http.StatusAccepted)
	sends("H/groups/g/:send" + v22)
	sends("H/groups/now/:send" + v22)
	for i := range 101 {
		a.do("PUT", fmt.Sprint("H/users/cy/groups/g", i, v22), "", http.StatusOK)
	}
	a.absent("HEAD", "H/users/cy/groups/g0"+v22, "Info.User.NotInGroup")
	a.do("HEAD", "H/users/cy/groups/g1"+v22, "", http.StatusOK)

	t.Log("the list of a group's connections, by the addresses that it gives")
	members := map[string]bool{}
	for _, conn := range []*jsclient.Conn{socket, poll, events, nobody, later} {
		a.do("PUT", "H/groups/listed/connections/"+conn.ConnectionID+v24, "", http.StatusOK)
	}
	pages := 0
	for path := "H/groups/listed/connections" + v24 + "&maxPageSize=2"; path != ""; pages++ {
		var page struct {
			Value    []struct{ ConnectionID, UserID string }
			NextLink string
		}
		if err := json.Unmarshal([]byte(a.do("GET", path, "", http.StatusOK).Body), &page); err != nil {
			t.Fatal(err)
		}
		for _, member := range page.Value {
			members[member.ConnectionID] = true
		}
		path = ""
		if page.NextLink != "" {
			next, err := url.Parse(page.NextLink)
			if err != nil {
				t.Fatal(err)
			}
			path = next.RequestURI() // at another node
		}
	}
	if len(members) != 5 || pages != 3 {
		t.Errorf("%d members on %d pages, want 5 on 3", len(members), pages)
	}
	a.do("GET", "H/groups/listed/connections"+v24+"&maxpagesize=201", "", http.StatusBadRequest)

	t.Log("a batch, in order")
	n++
	batch := fmt.Sprintf(`[{"op":"join","connection":%q,"group":"batch"},{"target":"message","arguments":[%d],"groups":["batch"]},
		{"op":"leaveAll","connection":%[1]q},{"target":"message","arguments":["nobody"],"groups":["batch"]}]`, nobody.ConnectionID, n)
	a.do("POST", "H/batch", batch, http.StatusOK)
	nobody.Expect("message", n)

	t.Log("commands for whom a filter selects")
	n++
	a.do("POST", "H/:execute"+v24+"&filter="+url.QueryEscape("startswith(userId,'an') and connectionId ne '"+poll.ConnectionID+"'"),
		fmt.Sprintf(`[{"type":"JoinGroup","group":"chosen"},{"type":"SendMessage","message":%s}]`, message(n)), http.StatusAccepted)
	for _, conn := range []*jsclient.Conn{socket, later, last} {
		conn.Expect("message", n)
	}
	sends("H/groups/chosen/:send"+v24, socket, later, last)
	a.do("POST", "H/:execute"+v24, `[{"type":"LeaveGroup","group":"chosen"}]`, http.StatusAccepted)
	sends("H/groups/chosen/:send" + v24)

	t.Log("a key that signs for a while")
	a.do("GET", "/api/auth/accessKey"+v24, "", http.StatusOK)

	t.Log("a token that the service makes")
	var made struct{ Token string }
	if err := json.Unmarshal([]byte(a.do("POST", "H/:generateToken?api-version=2022-11-01&userId=dan&minutesToExpire=5", "", http.StatusOK).Body), &made); err != nil {
		t.Fatal(err)
	}
	dan := sharedJS(t).Open(t, jsclient.Options{URL: a.proxy + "/client/?hub=" + a.hub, Transport: jsclient.LongPolling, AccessToken: made.Token})
	sends("H/users/dan/:send"+v22, dan)

	t.Log("closes, with a reason")
	a.do("HEAD", "H/connections/"+last.ConnectionID+v22, "", http.StatusOK)
	a.do("DELETE", "H/connections/"+last.ConnectionID+v22+"&reason=one", "", http.StatusOK)
	wantClosed(t, last, "one")
	a.absent("HEAD", "H/connections/"+last.ConnectionID+v22, "Warning.Connection.NotExisted")
	a.absent("DELETE", "H/connections/"+last.ConnectionID+v22, "Warning.Connection.NotExisted")
	a.do("POST", "H/groups/listed/:closeConnections"+v22+"&reason=group&excluded="+poll.ConnectionID+"&excluded="+events.ConnectionID+"&excluded="+socket.ConnectionID, "", http.StatusNoContent)
	wantClosed(t, later, "group")
	a.do("POST", "H/users/ann/:closeConnections"+v22+"&reason=user&excluded="+poll.ConnectionID, "", http.StatusNoContent)
	wantClosed(t, socket, "user")
	sends("H/:send"+v22, poll, events, nobody)
	a.do("POST", "H/:closeConnections"+v22+"&reason=all&excluded="+events.ConnectionID, "", http.StatusNoContent)
	wantClosed(t, poll, "all")
	wantClosed(t, nobody, "all")
	sends("H/:send"+v22, events)
	for _, conn := range all {
		if unread := conn.Unread(); len(unread) > 0 {
			t.Errorf("%s was sent more: %v", conn.ConnectionID, unread)
		}
	}
}

func wantClosed(t *testing.T, conn *jsclient.Conn, reason string) {
	t.Helper()
	if e := conn.Event("closed"); !strings.Contains(e.Error, reason) {
		t.Errorf("closed with %q, want the reason %q", e.Error, reason)
	}
}

// What reaches a JSON client is what was sent, byte by byte, however many arguments there are.
func TestArgumentsReachClientsAsWritten(t *testing.T) {
	t.Parallel()
	a := &azure{guardedCluster: newGuardedCluster(t), hub: newHub(t)}
	token := "Bearer " + a.client(oldKey, a.hub, "ann")
	client := func(node int, method, query, body string) rawclient.Answer {
		t.Helper()
		answer, err := rawclient.Do(t.Context(), method, a.nodes[node].URL+"/client/"+query, body, "Authorization", token, "Host", strings.TrimPrefix(a.proxy, "http://"))
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("%s %s: got %d %s %v", method, query, answer.Status, answer.Body, err)
		}
		return answer
	}
	var negotiated struct{ ConnectionToken string }
	if err := json.Unmarshal([]byte(client(0, "POST", "negotiate?negotiateVersion=1&hub="+a.hub, "").Body), &negotiated); err != nil {
		t.Fatal(err)
	}
	query := "?hub=" + a.hub + "&id=" + negotiated.ConnectionToken
	client(1, "GET", query+"&_=1", "")
	client(2, "POST", query, `{"protocol":"json","version":1}`+"\x1e")
	client(0, "GET", query+"&_=2", "")
	const arguments = `[12345678901234567890,1.0,{"z":null,"a":[]},"𝄞 \u00e9 <&>",-0.0,1e3,true,"8",9,10,11,12]`
	for i, path := range []string{"H/:send" + v24, "V/users/ann"} {
		a.do("POST", path, `{"Target":"message","Arguments":`+arguments+`}`, http.StatusAccepted)
		if got, want := client(i, "GET", query+"&_="+fmt.Sprint(3+i), "").Body, `{"type":1,"target":"message","arguments":`+arguments+"}\x1e"; got != want {
			t.Errorf("%s: got\n%s want\n%s", path, got, want)
		}
	}
}

// Who asks too often is told when to come back, at Azure's paths too; browsers may ask before they negotiate there.
func TestAzuresClientsAreToldToComeBack(t *testing.T) {
	t.Parallel()
	a := &azure{guardedCluster: newGuardedCluster(t, "-send-rate", "1", "-connect-rate", "1"), hub: newHub(t)}
	token := "Bearer " + a.client(oldKey, a.hub, "ann")
	tooMany := func(what string, request func() (rawclient.Answer, error)) {
		t.Helper()
		for range 100 { // two at once, and one a second
			answer, err := request()
			if err != nil {
				t.Fatal(err)
			}
			if answer.Status == http.StatusTooManyRequests {
				if answer.Header.Get("Retry-After") == "" {
					t.Errorf("%s: no Retry-After", what)
				}
				return
			}
			if answer.Status/100 != 2 {
				t.Fatalf("%s: got %d %s", what, answer.Status, answer.Body)
			}
		}
		t.Errorf("%s: 100 at once were not too many", what)
	}
	node := a.nodes[0].URL
	tooMany("negotiate", func() (rawclient.Answer, error) {
		return rawclient.Do(t.Context(), "POST", node+"/client/negotiate?negotiateVersion=1&hub="+a.hub, "", "Authorization", token, "Host", strings.TrimPrefix(a.proxy, "http://"))
	})
	backend := "Bearer " + a.sign(oldKey, access.Token{Audience: access.HubAudience(node, a.hub)})
	tooMany("send", func() (rawclient.Answer, error) {
		return rawclient.Do(t.Context(), "POST", node+"/api/hubs/"+a.hub+"/:send"+v24, message(1), "Authorization", backend, "Content-Type", "application/json")
	})
	answer, err := rawclient.Do(t.Context(), "OPTIONS", node+"/client/negotiate?hub="+a.hub, "", "Origin", localPage, "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "authorization,x-requested-with,x-signalr-user-agent")
	if err != nil || answer.Status != http.StatusNoContent {
		t.Fatalf("preflight: got %d %v", answer.Status, err)
	}
	for _, header := range []string{"authorization", "x-requested-with", "x-signalr-user-agent"} {
		if got := answer.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(strings.ToLower(got), header) {
			t.Errorf("allowed headers %q lack %s", got, header)
		}
	}
}
