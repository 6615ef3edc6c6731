// The smallest chat: an upstream of Hubstream that adds who said it, and passes what was said on to all.
//
//	HUBSTREAM=http://127.0.0.1:8080 KEY=<upstream key> go run main.go
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
)

var hubstream, key, token = env("HUBSTREAM", "http://127.0.0.1:8080"), os.Getenv("KEY"), os.Getenv("TOKEN")

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// signed tells whether the request is from our own Hubstream: one of its signatures is made with our key.
func signed(r *http.Request) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(r.Header.Get("X-ASRS-Connection-Id")))
	want := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	for got := range strings.SplitSeq(r.Header.Get("X-ASRS-Signature"), ",") {
		if hmac.Equal([]byte(strings.ToLower(got)), []byte(want)) {
			return true
		}
	}
	return false
}

// send calls a method of all clients.
func send(hub, target string, arguments ...any) error {
	body, err := json.Marshal(map[string]any{"target": target, "arguments": arguments})
	if err != nil {
		return err
	}
	request, err := http.NewRequest("POST", hubstream+"/api/hubs/"+hub+"/send", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("send: %s", response.Status)
	}
	return nil
}

func serve(w http.ResponseWriter, r *http.Request) {
	if !signed(r) {
		http.Error(w, "bad signature", http.StatusUnauthorized)
		return
	}
	hub, event := r.Header.Get("X-ASRS-Hub"), r.Header.Get("X-ASRS-Event")
	who := r.Header.Get("X-ASRS-User-Id")
	if who == "" {
		who = r.Header.Get("X-ASRS-Connection-Id")
	}
	var err error
	switch r.Header.Get("X-ASRS-Category") + "/" + event {
	case "connections/connected":
		err = send(hub, "joined", who)
	case "connections/disconnected":
		err = send(hub, "left", who)
	case "messages/Say":
		var invocation struct {
			InvocationID string `json:"invocationId"`
			Arguments    []string
		}
		if err = json.NewDecoder(r.Body).Decode(&invocation); err == nil && len(invocation.Arguments) == 1 {
			if err = send(hub, "said", who, invocation.Arguments[0]); err == nil && invocation.InvocationID != "" {
				w.Header().Set("Content-Type", "application/json")
				err = json.NewEncoder(w).Encode(map[string]any{"type": 3, "invocationId": invocation.InvocationID, "result": "ok"})
			}
		}
	default:
		http.NotFound(w, r)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func main() {
	if key == "" {
		log.Fatal("set KEY to Hubstream's -upstream-keys")
	}
	address := env("LISTEN", "127.0.0.1:3000")
	log.Print("upstream on http://", address)
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(serve)))
}
