package transports_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/negotiate"
	"hubstream/streams"
	"hubstream/transports"
)

const clientClose = `{"type":7}` + "\x1e"

func closeMessage(text string) string {
	return fmt.Sprintf(`{"type":7,"error":%q,"allowReconnect":true}`+"\x1e", text)
}

func TestWebSocketCarriesJSONInTextFrames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(ping)
		c.publish(1, 1)
		s.expect(invocation(1))
		s.sendText(call(0))
		s.expect(failure(0))
	})
}

func TestWebSocketCarriesMessagePackInBinaryFrames(t *testing.T) {
	for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} { // JavaScript's handshake is text
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 2)
				s := c.negotiate().dialSocket(0)
				s.sendRaw(frameOf(op, true, handshakeMessagePack))
				s.expectFrame(accepted, ws.OpText, ws.OpBinary)
				s.sendBinary("\x02\x91\x06")
				c.publish(1, 1)
				s.expectBinary(packed(invocation(1)))
				s.sendBinary("\x0c\x95\x01\x80\xa1\x30\xa1\x4d\x92\x01\x02\x00"[:10])
				s.expectNothing(time.Second) // a message that is not whole yet
			})
		})
	}
}

// Java sends JSON in binary frames; it leaves in text frames all the same.
func TestJSONInBinaryFramesIsAccepted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		s := c.negotiate().dialSocket(0)
		s.sendBinary(handshakeJSON)
		s.expectFrame(accepted, ws.OpText)
		s.sendBinary(call(1))
		s.expect(failure(1))
	})
}

// The client's bytes are a stream: it may be cut anywhere.
func TestClientsMayCutTheirBytesAnywhere(t *testing.T) {
	stream := handshakeJSON + call(0) + call(1)
	for name, send := range map[string]func(s *socket, a, b string){
		"messages": func(s *socket, a, b string) { s.sendText(a); s.sendText(b) },
		"fragments": func(s *socket, a, b string) {
			s.sendRaw(frameOf(ws.OpText, false, a))
			s.sendRaw(frameOf(ws.OpPing, true, "between")) // a control frame may come in between
			s.sendRaw(frameOf(ws.OpContinuation, true, b))
			// its answer is taken by the caller
		},
		"packets": func(s *socket, a, b string) {
			f := frameOf(ws.OpText, true, a+b)
			s.sendRaw(f[:6+len(a)])
			s.sendRaw(f[6+len(a):])
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 1)
				for at := range len(stream) {
					s := c.negotiate().dialSocket(0)
					send(s, stream[:at], stream[at:])
					pong := name == "fragments"
					for want := accepted + failure(0) + failure(1); want != ""; {
						f, err := s.next()
						if err != nil {
							t.Fatalf("cut at %d: got the end (%v), want %q", at, err, want)
						}
						if pong && f.Header.OpCode == ws.OpPong && string(f.Payload) == "between" {
							pong = false
							continue
						}
						var ok bool
						if want, ok = strings.CutPrefix(want, string(f.Payload)); !ok {
							t.Fatalf("cut at %d: got %q, want %q", at, f.Payload, want)
						}
					}
					s.cut()
				}
			})
		})
	}
}

func TestFrameThatComesAlongWithTheUpgradeIsRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		early := frameOf(ws.OpText, true, handshakeJSON+call(0))
		s, a := c.negotiate().upgrade(0, upgradeHeader, early)
		if s == nil {
			t.Fatalf("upgrade: %+v", a)
		}
		s.expect(accepted + failure(0))
	})
}

func TestHandshakeErrors(t *testing.T) {
	for handshake, want := range map[string]string{
		`{"protocol":"json","version":3}` + "\x1e":      `{"error":"The server does not support version 3 of the 'json' protocol."}` + "\x1e",
		`{"protocol":"bson","version":1}` + "\x1e":      `{"error":"The protocol 'bson' is not supported."}` + "\x1e",
		`{"version":1}` + "\x1e":                        `{"error":"An unexpected error occurred during connection handshake. Missing required property 'protocol'."}` + "\x1e",
		"nonsense\x1e":                                  "",
		strings.Repeat(" ", 40<<10):                     `{"error":"Handshake was canceled."}` + "\x1e",
		strings.Repeat(" ", 40<<10) + handshakeJSON:     `{"error":"Handshake was canceled."}` + "\x1e",
		`{"protocol":"json","version":1}` + "\x1e" + "": accepted,
		`{"protocol":"JSON","version":0}` + "\x1e":      accepted,
	} {
		t.Run(handshake[:min(len(handshake), 40)], func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := newCluster(t, 2).negotiate()
				s := k.dialSocket(0)
				go s.sendText(handshake)
				f, err := s.next()
				if err != nil {
					t.Fatal(err)
				}
				if want == accepted {
					if string(f.Payload) != want {
						t.Fatalf("got %q, want it accepted", f.Payload)
					}
					return
				}
				if want != "" && string(f.Payload) != want || !strings.HasPrefix(string(f.Payload), `{"error":"`) {
					t.Fatalf("got %q, want %q", f.Payload, want)
				}
				s.expectClose(ws.StatusNormalClosure)
				k.wantRecord(false)
				k.wantRefused(1, 404, "No Connection with that ID")
			})
		})
	}
}

// The same where it may become a stateful connection: what was said is no Sequence of who comes back. Nor is one, where it may not.
func TestHandshakeErrorsWhereAClientMayReturn(t *testing.T) {
	for _, test := range []struct {
		change []func(*negotiate.Token)
		said   string
		want   string
	}{
		{[]func(*negotiate.Token){stateful}, `{"protocol":"bson","version":1}` + "\x1e", `{"error":"The protocol 'bson' is not supported."}` + "\x1e"},
		{[]func(*negotiate.Token){stateful}, ping, `{"error":"An unexpected error occurred during connection handshake. Missing required property 'protocol'."}` + "\x1e"},
		{nil, sequence(1), `{"error":"An unexpected error occurred during connection handshake. Missing required property 'protocol'."}` + "\x1e"},
	} {
		bubbleRun(t, test.said, func(t *testing.T) {
			k := newCluster(t, 1).negotiate(test.change...)
			s := k.dialSocket(0)
			s.sendText(test.said)
			s.expectFrame(test.want, ws.OpText)
			s.expectClose(ws.StatusNormalClosure)
			k.wantRecord(false)
		})
	}
}

func TestWebSocketWithoutAHandshakeIsEnded(t *testing.T) {
	for _, begun := range []string{"", `{"protocol":`} {
		bubbleRun(t, fmt.Sprintf("after %q", begun), func(t *testing.T) {
			k := newCluster(t, 1).negotiate()
			s := k.dialSocket(0)
			if begun != "" {
				s.sendText(begun)
			}
			s.expectNothing(14 * time.Second)
			s.expectFrame(`{"error":"Handshake was canceled."}`+"\x1e", ws.OpText)
			s.expectClose(ws.StatusNormalClosure)
			k.wantRecord(false)
		})
	}
}

func TestPongAnswersPing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newCluster(t, 1).negotiate().dialSocket(0)
		s.sendRaw(frameOf(ws.OpPing, true, "hello"))
		s.expectFrame("hello", ws.OpPong)
		s.sendRaw(frameOf(ws.OpPong, true, ""))
		s.sendText(handshakeJSON)
		s.expect(accepted)
	})
}

// The clients check for 1000, whatever they have sent.
func TestClientsCloseFrameIsAnsweredWithNormalClosure(t *testing.T) {
	for _, body := range []string{"", "\x03\xe8bye", "\x03\xe9", "\x0f\xa0own code", "x"} {
		bubbleRun(t, fmt.Sprintf("%q", body), func(t *testing.T) {
			k := newCluster(t, 1).negotiate()
			s := k.openSocket(0, handshakeJSON)
			s.sendRaw(frameOf(ws.OpClose, true, body))
			s.expectFrame("\x03\xe8", ws.OpClose)
			s.expectEnd()
			k.wantRecord(false)
		})
	}
}

func TestClientsCloseMessageEndsTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newCluster(t, 1).negotiate()
		s := k.openSocket(0, handshakeJSON)
		s.sendText(call(0), clientClose, call(1))
		s.expect(failure(0))
		s.expectClose(ws.StatusNormalClosure)
		k.wantRecord(false)
	})
}

func TestCutReleasesTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newCluster(t, 1).negotiate()
		s := k.openSocket(0, handshakeJSON)
		s.cut()
		k.wantRecord(false)
		k.wantRefused(0, 404, "No Connection with that ID")
	})
}

// What a client must not send ends its connection, and no other.
func TestBadFramesEndOnlyTheirConnection(t *testing.T) {
	masked := frameOf(ws.OpText, true, call(0))
	for name, bad := range map[string]string{
		"unmasked":             string(ws.MustCompileFrame(ws.NewTextFrame([]byte(call(0))))),
		"reserved bits":        "\xc1" + masked[1:],
		"reserved opcode":      frameOf(0x3, true, "x"),
		"reserved control":     frameOf(0xb, true, "x"),
		"lone continuation":    frameOf(ws.OpContinuation, true, "x"),
		"interleaved":          frameOf(ws.OpText, false, "x") + masked,
		"fragmented ping":      frameOf(ws.OpPing, false, "x"),
		"long ping":            frameOf(ws.OpPing, true, strings.Repeat("x", 126)),
		"length with high bit": "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04",
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 1)
			other := c.negotiate().openSocket(0, handshakeJSON)
			k := c.negotiate()
			s := k.openSocket(0, handshakeJSON)
			s.sendRaw(bad)
			f, err := s.next()
			if err != nil || !strings.HasPrefix(string(f.Payload), `{"type":7,"error":"Connection closed with an error. `) {
				t.Fatalf("got %q %v, want a Close", f.Payload, err)
			}
			f, err = s.next()
			if code, _ := ws.ParseCloseFrameData(f.Payload); err != nil || f.Header.OpCode != ws.OpClose || code != ws.StatusProtocolError {
				t.Fatalf("got opcode %d %q %v, want close code 1002", f.Header.OpCode, f.Payload, err)
			}
			s.expectEnd()
			k.wantRecord(false)
			other.sendText(call(7))
			other.expect(failure(7))
			c.publish(0, 1)
			other.expect(invocation(1))
		})
	}
}

func TestBadMessagesEndOnlyTheirConnection(t *testing.T) {
	for bad, text := range map[string]string{
		"{}\x1e":                           "Connection closed with an error. Missing required property 'type'.",
		strings.Repeat(" ", 32<<10) + ping: "Connection closed with an error. the maximum message size of 32768 bytes was exceeded",
		strings.Repeat(" ", 32<<10):        "Connection closed with an error. the maximum message size of 32768 bytes was exceeded",
	} {
		bubbleRun(t, text[:min(20, len(text))], func(t *testing.T) {
			c := newCluster(t, 1)
			other := c.negotiate().openSocket(0, handshakeJSON)
			k := c.negotiate()
			s := k.openSocket(0, handshakeJSON)
			go s.sendText(call(0), bad, call(1))
			s.expect(failure(0) + closeMessage(text))
			s.expectClose(ws.StatusNormalClosure)
			k.wantRecord(false)
			other.sendText(call(7))
			other.expect(failure(7))
		})
	}
}

func TestMessageAtTheLimitPasses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newCluster(t, 1).negotiate().openSocket(0, handshakeJSON)
		m := call(0)
		s.sendText(strings.Repeat(" ", 32<<10-len(m)) + m)
		s.expect(failure(0))
	})
}

// On a real network, where closing with something left to read resets the connection
// and takes what was written with it.
func TestOversizedMessageStillGetsItsClose(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, newLoopback)
	for range 20 {
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(strings.Repeat("x", 4<<20)) // all of it, before anything is read
		s.sendRaw(frameOf(ws.OpClose, true, ""))
		s.expect(closeMessage("Connection closed with an error. the maximum message size of 32768 bytes was exceeded"))
		s.expectFrame("\x03\xe8", ws.OpClose)
		s.expectEnd()
	}
}

func TestSecondUpgradeOfALiveConnectionIsAConflict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		s := k.openSocket(0, handshakeJSON)
		k.wantRefused(1, 409, "")
		c.publish(1, 1)
		s.expect(invocation(1))
	})
}

// A proxy sends an upgrade again when the node that had it died: until the handshake the newest wins.
func TestUpgradeBeforeTheHandshakeMayBeRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		older := k.dialSocket(0)
		newer := k.dialSocket(1)
		older.sendText(handshakeJSON)
		older.expectEnd()
		newer.sendText(handshakeJSON)
		newer.expect(accepted)
		c.publish(0, 1)
		newer.expect(invocation(1))
	})
}

func TestUpgradesRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) {
			cfg.AllowOrigin = func(origin string) bool { return origin == "https://good.example" }
		})
		k := c.negotiate()
		refused := func(status int, what, header string) {
			t.Helper()
			if s, a := k.upgrade(0, header, ""); s != nil || a.status != status {
				t.Errorf("%s: got %d %q, want %d", what, a.status, a.body, status)
			}
		}
		refused(403, "foreign origin", upgradeHeader+"Origin: https://bad.example\r\n")
		refused(426, "old version", strings.Replace(upgradeHeader, "13", "8", 1))
		refused(400, "no key", strings.Replace(upgradeHeader, "Sec-WebSocket-Key", "X", 1))
		k.wantRecord(false) // none of them has used the token up
		s, a := k.upgrade(0, upgradeHeader+"Origin: https://good.example\r\n", "")
		if s == nil {
			t.Fatalf("got %d %q, want 101", a.status, a.body)
		}
		late := c.negotiate(func(t *negotiate.Token) { t.Deadline = time.Now().UnixMilli() - 1 })
		late.wantRefused(1, 404, "No Connection with that ID")
		elsewhere := c.negotiate(func(t *negotiate.Token) { t.Hub = "another" })
		elsewhere.wantRefused(1, 404, "No Connection with that ID")
		forged := &connection{c, "", strings.Repeat("A", len(k.token))}
		forged.wantRefused(1, 404, "No Connection with that ID")
	})
}

// What headers of an upgrade list may be spread over several lines, and hold more.
func TestUpgradesHeadersMayBeLists(t *testing.T) {
	for name, header := range map[string]string{
		"lines":   strings.Replace(upgradeHeader, "Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade", 1),
		"words":   strings.Replace(upgradeHeader, "Connection: Upgrade", "Connection: keep-alive, upgrade", 1),
		"upgrade": strings.Replace(upgradeHeader, "Upgrade: websocket", "Upgrade: h2c, WebSocket", 1),
		"version": strings.Replace(upgradeHeader, "13", "13, 8", 1),
	} {
		bubbleRun(t, name, func(t *testing.T) {
			s, a := newCluster(t, 1).negotiate().upgrade(0, header, "")
			if s == nil {
				t.Fatalf("got %d %q %v, want 101", a.status, a.body, a.err)
			}
			s.sendText(handshakeJSON)
			s.expect(accepted)
		})
	}
}

func TestUpgradeWithoutAnIDIsANewConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		for range 2 {
			s := (&connection{cluster: c}).openSocket(0, handshakeJSON)
			s.sendText(call(0))
			s.expect(failure(0))
		}
	})
}

func TestIdleWebSocketIsPingedAndStaysUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		silent := c.negotiate().openSocket(0, handshakeJSON) // never pings: never timed out
		var last time.Time
		for range 40 { // ten minutes
			before := time.Now()
			silent.expectFrame(ping, ws.OpText)
			if !last.IsZero() && time.Since(last) > 15*time.Second {
				t.Fatalf("%v between two pings, want at most 15 s", time.Since(last))
			}
			if time.Since(before) > 15*time.Second {
				t.Fatalf("waited %v for a ping", time.Since(before))
			}
			last = time.Now()
		}
		silent.sendText(call(0))
		silent.expect(failure(0))
	})
}

// A ping is in the client's protocol: one in another ends the client's parsing.
func TestIdleMessagePackWebSocketIsPingedInItsProtocol(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newCluster(t, 1).negotiate().openSocket(0, handshakeMessagePack)
		for range 2 {
			s.expectFrame("\x02\x91\x06", ws.OpBinary)
		}
	})
}

func TestClientThatPingedAndFellSilentIsTimedOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newCluster(t, 1).negotiate()
		s := k.openSocket(0, handshakeJSON)
		time.Sleep(time.Minute)
		s.sendText(ping)
		began := time.Now()
		for {
			f, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if string(f.Payload) != ping {
				s.rest = string(f.Payload)
				break
			}
		}
		s.expect(closeMessage("Connection closed with an error. The client did not send anything in time."))
		if d := time.Since(began); d < 30*time.Second || d > 32*time.Second {
			t.Errorf("timed out after %v, want 30 s", d)
		}
		s.expectClose(ws.StatusNormalClosure)
		k.wantRecord(false)
	})
}

// A store that is away keeps a stateful client's message from being finished: the
// client is not silent because of that.
func TestClientIsNotTimedOutForWhatTheServerIsBusyWith(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.negotiate(stateful)
		s := k.openSocket(0, handshakeStateful)
		s.sendText(ping)
		synctest.Wait()
		c.store.goAway()
		s.sendText(call(0))
		time.Sleep(2 * time.Minute)
		s.skipPings()
		c.store.comeBack()
		s.expectBoth(failure(0), ack(1))
	})
}

func TestMessagesBeforeTheHandshakesAnswerAreNotForIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		s := c.negotiate().dialSocket(0)
		c.publish(1, 1)
		s.expectNothing(time.Second)
		s.sendText(handshakeJSON)
		s.expect(accepted)
		c.publish(1, 2)
		s.expect(invocation(2))
	})
}

// A message that comes between the handshake's place in the log and its answer belongs to the connection.
func TestMessageDuringTheHandshakeIsNotLost(t *testing.T) {
	for name, handshake := range map[string]string{"version 1": handshakeJSON, "version 2": handshakeStateful} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 2)
			s := c.negotiate(stateful).dialSocket(0)
			c.store.onAfter(func(step string) error {
				if step == "handshake" {
					go c.publish(1, 1)
					time.Sleep(100 * time.Millisecond) // the node reads it before it knows the handshake's place
				}
				return nil
			})
			s.sendText(handshake)
			s.expect(accepted + invocation(1))
		})
	}
}

func TestMessagesBeforeACloseComeFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		s := k.openSocket(0, handshakeJSON)
		for n := range 100 {
			c.publish(n%2, n)
		}
		if _, err := c.nodes[1].CloseConnection(c.ctx, hubName, k.id, "enough", true); err != nil {
			t.Fatal(err)
		}
		c.publish(1, 100)
		s.expect(invocations(0, 99) + closeMessage("enough"))
		s.expectClose(ws.StatusNormalClosure)
		k.wantRecord(false)
	})
}

func TestCloseOfTheHubClosesEverybody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a, b := c.negotiate().openSocket(0, handshakeJSON), c.negotiate().openSocket(1, handshakeJSON)
		c.publishEntry(0, &streams.Entry{Kind: streams.KindClose, Flags: streams.FlagAll})
		for _, s := range []*socket{a, b} {
			s.expect(`{"type":7}` + "\x1e")
			s.expectClose(ws.StatusNormalClosure)
		}
	})
}

// Many messages are joined into few writes; each still holds whole messages only.
func TestJoinedWritesEndOnMessageBorders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		s := c.negotiate().openSocket(0, handshakeJSON)
		m := c.negotiate().openSocket(0, handshakeMessagePack)
		big := fmt.Sprintf(`{"type":1,"target":"m","arguments":["%s"]}`+"\x1e", strings.Repeat("b", 100<<10))
		want := ""
		for n := range 500 {
			c.publish(0, n)
			want += invocation(n)
			if n%100 == 0 {
				c.publishBody(0, big)
				want += big
			}
		}
		s.expect(want)
		m.expectBinary(packed(want))
	})
}

// A reader that does not read loses nothing but its own time, and nobody else waits for it.
func TestSlowReaderDisturbsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		slow := c.negotiate()
		conn := c.nodes[0].dial()
		defer conn.Close()
		go conn.Write([]byte("GET /" + hubName + "?id=" + slow.token + " HTTP/1.1\r\nHost: node\r\n" + upgradeHeader + "\r\n" + frameOf(ws.OpText, true, handshakeJSON)))
		var head [2048]byte
		for got := ""; !strings.HasSuffix(got, accepted); {
			n, err := conn.Read(head[:])
			if err != nil {
				t.Fatal(err)
			}
			got += string(head[:n])
		}
		fast := c.negotiate().openSocket(0, handshakeJSON)
		for n := range 2000 {
			c.publish(0, n)
		}
		fast.expect(invocations(0, 1999))
		slow.wantRecord(true)
		time.Sleep(31 * time.Second) // the write's limit
		slow.wantRecord(false)
		fast.sendText(call(0))
		for f, err := fast.next(); string(f.Payload) != failure(0); f, err = fast.next() {
			if err != nil || string(f.Payload) != ping {
				t.Fatalf("got %q %v", f.Payload, err)
			}
		}
	})
}

func TestUpgradeWaitsForAStoreThatIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.store.goAway()
		began := time.Now()
		k := c.negotiate()
		k.wantRefused(0, 503, "the connection's store is not reachable")
		if d := time.Since(began); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("refused after %v, want 10 s", d)
		}
		time.AfterFunc(5*time.Second, c.store.comeBack)
		c.negotiate().openSocket(0, handshakeJSON)
	})
}

func TestConnectionsStayWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		s := c.negotiate().openSocket(0, handshakeJSON)
		c.store.goAway()
		time.Sleep(2 * time.Minute)
		if n := s.skipPings(); n < 7 {
			t.Errorf("got %d pings in two minutes, want 8", n)
		}
		c.store.comeBack()
		time.Sleep(5 * time.Second)
		s.skipPings()
		c.publish(1, 1)
		s.expect(invocation(1))
	})
}

func bubbleRun(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { bubble(t, f) })
}
