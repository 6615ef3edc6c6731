"""The smallest chat: an upstream of Hubstream that adds who said it, and passes what was said on to all.

    HUBSTREAM=http://127.0.0.1:8080 KEY=<upstream key> python3 main.py
"""
import hashlib
import hmac
import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HUBSTREAM = os.environ.get("HUBSTREAM", "http://127.0.0.1:8080")
KEY = os.environ.get("KEY") or exit("set KEY to Hubstream's -upstream-keys")
TOKEN = os.environ.get("TOKEN")
HOST, PORT = os.environ.get("LISTEN", "127.0.0.1:3000").split(":")


def signed(headers):
    """The request is from our own Hubstream if one of its signatures is made with our key."""
    mac = hmac.new(KEY.encode(), headers.get("X-ASRS-Connection-Id", "").encode(), hashlib.sha256).hexdigest()
    return any(hmac.compare_digest(got, "sha256=" + mac) for got in headers.get("X-ASRS-Signature", "").lower().split(","))


def send(hub, target, *arguments):
    """Calls a method of all clients."""
    headers = {"Content-Type": "application/json"}
    if TOKEN:
        headers["Authorization"] = "Bearer " + TOKEN
    body = json.dumps({"target": target, "arguments": arguments}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{HUBSTREAM}/api/hubs/{hub}/send", body, headers)):
        pass


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not signed(self.headers):
            return self.answer(401, b"bad signature")
        hub = self.headers["X-ASRS-Hub"]
        who = self.headers.get("X-ASRS-User-Id") or self.headers["X-ASRS-Connection-Id"]
        event = self.headers["X-ASRS-Category"] + "/" + self.headers["X-ASRS-Event"]
        if event == "connections/connected":
            send(hub, "joined", who)
        elif event == "connections/disconnected":
            send(hub, "left", who)
        elif event == "messages/Say":
            invocation = json.loads(body)
            send(hub, "said", who, invocation["arguments"][0])
            if "invocationId" in invocation:
                completion = {"type": 3, "invocationId": invocation["invocationId"], "result": "ok"}
                return self.answer(200, json.dumps(completion).encode(), "application/json")
        else:
            return self.answer(404, b"")
        self.answer(200, b"")

    def answer(self, status, body, content_type="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


print(f"upstream on http://{HOST}:{PORT}", flush=True)
ThreadingHTTPServer((HOST, int(PORT)), Upstream).serve_forever()
