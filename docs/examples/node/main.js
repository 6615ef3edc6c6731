// The smallest chat: an upstream of Hubstream that adds who said it, and passes what was said on to all.
//
//   HUBSTREAM=http://127.0.0.1:8080 KEY=<upstream key> node main.js
"use strict";
const crypto = require("crypto");
const http = require("http");

const { HUBSTREAM = "http://127.0.0.1:8080", KEY, TOKEN, LISTEN = "127.0.0.1:3000" } = process.env;
if (!KEY) throw new Error("set KEY to Hubstream's -upstream-keys");

// The request is from our own Hubstream if one of its signatures is made with our key.
function signed(headers) {
  const mac = crypto.createHmac("sha256", KEY).update(headers["x-asrs-connection-id"] || "").digest("hex");
  const want = Buffer.from("sha256=" + mac);
  return (headers["x-asrs-signature"] || "").toLowerCase().split(",")
    .some((got) => got.length === want.length && crypto.timingSafeEqual(Buffer.from(got), want));
}

// Calls a method of all clients.
async function send(hub, target, ...args) {
  const headers = { "Content-Type": "application/json", ...(TOKEN && { Authorization: "Bearer " + TOKEN }) };
  const response = await fetch(`${HUBSTREAM}/api/hubs/${hub}/send`, { method: "POST", headers, body: JSON.stringify({ target, arguments: args }) });
  if (response.status !== 202) throw new Error(`send: ${response.status}`);
}

async function serve(request, response) {
  let body = "";
  for await (const piece of request.setEncoding("utf8")) body += piece;
  const h = request.headers;
  if (!signed(h)) return response.writeHead(401).end("bad signature");
  const hub = h["x-asrs-hub"], who = h["x-asrs-user-id"] || h["x-asrs-connection-id"];
  switch (h["x-asrs-category"] + "/" + h["x-asrs-event"]) {
    case "connections/connected":
      await send(hub, "joined", who);
      return response.end();
    case "connections/disconnected":
      await send(hub, "left", who);
      return response.end();
    case "messages/Say": {
      const { invocationId, arguments: [text] } = JSON.parse(body);
      await send(hub, "said", who, text);
      if (!invocationId) return response.end();
      response.setHeader("Content-Type", "application/json");
      return response.end(JSON.stringify({ type: 3, invocationId, result: "ok" }));
    }
    default:
      return response.writeHead(404).end();
  }
}

const [host, port] = LISTEN.split(":");
http.createServer((request, response) => serve(request, response).catch((e) => response.writeHead(500).end(String(e))))
  .listen(Number(port), host, () => console.log(`upstream on http://${LISTEN}`));
