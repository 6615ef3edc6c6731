package transports_test

import (
	"testing"
	"testing/synctest"
	"time"
)

const (
	nodeJS  = "Microsoft SignalR/10.0 (10.0.11; Linux; NodeJS; v22.12.0)"
	browser = "Microsoft SignalR/10.0 (10.0.11; Unknown OS; Browser; Unknown Runtime Version)"
	java    = "Microsoft SignalR/8.0 (8.0.7; Windows 11; Java; 17; Eclipse)"
	chrome  = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
)

// The answer was written, and its connection broke in the same moment, before a proxy had it: what that sends again, at once, is
// answered with the same.
func TestPollSentAgainAtOnceIsAnsweredTheSame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		c.publish(0, 1)
		k.poll(0, "10", "User-Agent", nodeJS).expect(200, invocation(1))
		synctest.Wait() // that it was written is known
		k.poll(1, "10", "User-Agent", nodeJS).expect(200, invocation(1))
		c.publish(0, 2)
		k.poll(1, "10", "User-Agent", nodeJS).expect(200, invocation(1))
		k.poll(2, "11", "User-Agent", nodeJS).expect(200, invocation(2))
		k.poll(1, "12", "User-Agent", nodeJS).expectNothing(5 * time.Second)
	})
}

func TestFirstPollSentAgainAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.poll(0, "1", "User-Agent", nodeJS).expect(200, "")
		synctest.Wait()
		within(t, k.poll(1, "1", "User-Agent", nodeJS).expect(200, ""), 0, 2*time.Millisecond)
		k.post(1, handshakeJSON)
		k.poll(0, "2", "User-Agent", nodeJS).expect(200, accepted)
	})
}

// Whose polls have marks of their own is not answered within the same millisecond; others need not wait.
func TestWhoseMarksAreUnique(t *testing.T) {
	for name, client := range map[string]struct {
		header []string
		held   time.Duration
	}{
		"node":    {[]string{"User-Agent", nodeJS}, 2 * time.Millisecond},
		"chrome":  {[]string{"User-Agent", chrome, "X-SignalR-User-Agent", browser}, 2 * time.Millisecond},
		"firefox": {[]string{"User-Agent", firefox, "X-SignalR-User-Agent", browser}, 0},
		"java":    {[]string{"User-Agent", java}, 0},
		"nobody":  {nil, 0},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 1)
			k := c.negotiate()
			within(t, k.poll(0, "1", client.header...).expect(200, ""), client.held, client.held)
			k.post(0, handshakeJSON)
			within(t, k.poll(0, "2", client.header...).expect(200, accepted), client.held, client.held)
			time.Sleep(20 * time.Millisecond) // the next answer is not too soon after this one
			c.publish(0, 1)
			within(t, k.poll(0, "3", client.header...).expect(200, invocation(1)), client.held, client.held)
			waiting := k.poll(0, "4", client.header...).expectNothing(time.Second)
			c.publish(0, 2)
			within(t, waiting.expect(200, invocation(2)), time.Second, time.Second) // it is held already
		})
	}
}
