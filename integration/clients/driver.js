// The official JavaScript clients behind a pipe: commands come as JSON lines on standard input, events leave as JSON
// lines on standard output. One process hosts many connections. The Go side, which documents each field, is
// integration/internal/jsclient.
//
//   in   {"seq":1,"cmd":"open","id":"a","url":"http://...","version":"10","transport":"LongPolling","protocol":"json"}
//   out  {"ev":"http","id":"a","method":"POST","kind":"negotiate","status":200,"node":"n2"}
//   out  {"ev":"reply","seq":1,"value":{"connectionId":"...","transport":"LongPolling"}}
//   out  {"ev":"message","id":"a","target":"news","args":[1]}
//   in   {"seq":2,"cmd":"stop","id":"a"}
//   out  {"ev":"closed","id":"a"}
//   out  {"ev":"reply","seq":2}
"use strict";
const diagnostics = require("diagnostics_channel");
const readline = require("readline");

const packages = {
  10: ["@microsoft/signalr", "@microsoft/signalr-protocol-msgpack"],
  8: ["signalr-8", "signalr-8-msgpack"],
  7: ["signalr-7", "signalr-7-msgpack"],
  3: ["signalr-3", "signalr-3-msgpack"],
  1: ["signalr-1", "signalr-1-msgpack"],
};

// The hub URL carries this parameter, which clients keep on every request: it says whose request one is.
const tag = "testclient";

const connections = new Map(); // id -> { hub, token }

function emit(event) {
  process.stdout.write(JSON.stringify(event, (_, v) => {
    if (v && v.type === "Buffer" && Array.isArray(v.data)) return { base64: Buffer.from(v.data).toString("base64") };
    return v instanceof Uint8Array ? { base64: Buffer.from(v).toString("base64") } : v;
  }) + "\n");
}

const text = (error) => (error ? String(error.message || error) : "");

// Every request that any of the clients' libraries makes, upgrades included, without touching the clients: newer ones
// use Node's own fetch (undici) beside the http module, older ones the http module alone.
function classify(method, path, accept, upgrade) {
  const url = new URL(path, "http://x");
  const id = url.searchParams.get(tag);
  if (id === null) return null;
  const token = url.searchParams.get("id");
  if (token && connections.has(id)) connections.get(id).token = token;
  let kind = "poll";
  if (url.pathname.endsWith("/negotiate")) kind = "negotiate";
  else if (method === "POST") kind = "send";
  else if (method === "DELETE") kind = "delete";
  else if (/websocket/i.test(upgrade)) kind = "websocket";
  else if (accept.includes("text/event-stream")) kind = "events";
  return (status, node) => emit({ ev: "http", id, method, kind, status, node: node || "" });
}

diagnostics.subscribe("http.client.request.start", ({ request }) => {
  const report = classify(request.method, request.path, String(request.getHeader("accept") || ""), String(request.getHeader("upgrade") || ""));
  if (!report) return;
  const seen = (response) => report(response.statusCode, response.headers["x-hubstream-node"]);
  request.prependOnceListener("response", seen);
  request.prependOnceListener("upgrade", seen);
});

const reports = new WeakMap();
diagnostics.subscribe("undici:request:create", ({ request }) => reports.set(request, classify(request.method, request.path, "", "")));
diagnostics.subscribe("undici:request:headers", ({ request, response }) => {
  const report = reports.get(request);
  if (!report) return;
  const headers = response.headers.map(String);
  const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === "x-hubstream-node");
  report(response.statusCode, at < 0 ? "" : headers[at + 1]);
});

function transportName(hub) {
  const transport = hub.connection && hub.connection.transport;
  return transport ? transport.constructor.name.replace(/Transport$/, "").replace(/^WebSocket$/, "WebSockets") : "";
}

function open(o) {
  const [client, msgpack] = packages[o.version || "10"];
  const signalR = require(client);
  const url = new URL(o.url);
  url.searchParams.set(tag, o.id);
  const options = {};
  if (o.transport) options.transport = signalR.HttpTransportType[o.transport];
  if (o.skipNegotiation) options.skipNegotiation = true;
  const conn = { hub: null, token: "", accessToken: o.accessToken };
  if (o.accessToken) options.accessTokenFactory = () => conn.accessToken;
  const protocol = o.protocol === "messagepack" ? new (require(msgpack).MessagePackHubProtocol)() : new signalR.JsonHubProtocol();
  const builder = new signalR.HubConnectionBuilder().configureLogging(o.trace ? stderrLogger : signalR.LogLevel.None)
    .withUrl(url.href, options).withHubProtocol(protocol);
  if (o.reconnect) builder.withAutomaticReconnect(o.reconnect);
  if (o.stateful) builder.withStatefulReconnect(o.bufferSize ? { bufferSize: o.bufferSize } : undefined);
  const hub = builder.build();
  if (o.serverTimeout) hub.serverTimeoutInMilliseconds = o.serverTimeout;
  if (o.keepAlive) hub.keepAliveIntervalInMilliseconds = o.keepAlive;

  conn.hub = hub;
  connections.set(o.id, conn);
  for (const target of o.targets || []) {
    hub.on(target, (...args) => {
      emit({ ev: "message", id: o.id, target, args });
      if (o.results && target in o.results) return o.results[target];
    });
  }
  if (hub.onreconnecting) hub.onreconnecting((e) => emit({ ev: "reconnecting", id: o.id, at: Date.now(), error: text(e) }));
  if (hub.onreconnected) hub.onreconnected((connectionId) => emit({ ev: "reconnected", id: o.id, connectionId, transport: transportName(hub) }));
  hub.onclose((e) => emit({ ev: "closed", id: o.id, error: text(e) }));
  return hub.start().then(() => describe(conn));
}

// Clients before 3.0 keep no connection ID: there it is the id of their requests.
function describe(conn) {
  return { connectionId: conn.hub.connectionId || conn.token, token: conn.token, transport: transportName(conn.hub), state: String(conn.hub.state) };
}

const stderrLogger = { log: (level, message) => process.stderr.write(`${level} ${message}\n`) };

function stream(hub, o) {
  return new Promise((resolve, reject) => {
    const items = [];
    const subscription = hub.stream(o.target, ...(o.args || [])).subscribe({
      next: (item) => {
        items.push(item);
        if (o.take && items.length === o.take) {
          subscription.dispose();
          resolve(items);
        }
      },
      complete: () => resolve(items),
      error: reject,
    });
  });
}

// upload invokes a method with one stream, of the items, and waits for its result.
async function upload(hub, o) {
  const subject = new (require("@microsoft/signalr").Subject)();
  const result = hub.invoke(o.target, subject);
  for (const item of o.args) {
    subject.next(item);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  subject.complete();
  return result;
}

// drop cuts the WebSocket's TCP connection under the client's feet: no close frame, no FIN handshake of the protocol.
function drop(hub) {
  const transport = hub.connection.transport;
  const socket = transport.webSocket || transport._webSocket;
  socket._socket.destroy();
}

const commands = {
  open,
  invoke: (o, c) => c.hub.invoke(o.target, ...(o.args || [])),
  send: (o, c) => c.hub.send(o.target, ...(o.args || [])),
  stream: (o, c) => stream(c.hub, o),
  upload: (o, c) => upload(c.hub, o),
  stop: (o, c) => c.hub.stop(),
  start: (o, c) => c.hub.start().then(() => describe(c)),
  describe: (o, c) => describe(c),
  drop: (o, c) => drop(c.hub),
  accessToken: (o, c) => { c.accessToken = o.target; }, // for requests from now on
  timeout: (o, c) => c.hub.serverTimeout(), // what its own timer calls after silence
};

async function run(o) {
  try {
    const conn = connections.get(o.id);
    if (o.cmd !== "open" && !conn) throw new Error(`no connection ${o.id}`);
    const value = await commands[o.cmd](o, conn);
    emit({ ev: "reply", seq: o.seq, value: value === undefined ? null : value });
  } catch (e) {
    emit({ ev: "reply", seq: o.seq, error: text(e) || "error without a text" });
  }
}

process.on("unhandledRejection", (e) => emit({ ev: "fault", error: `unhandled rejection: ${text(e)}` }));
process.on("uncaughtException", (e) => emit({ ev: "fault", error: `uncaught exception: ${e && e.stack}` }));

// Keep-alive agents hold Node open: the end of standard input is the end.
readline.createInterface({ input: process.stdin }).on("line", (line) => run(JSON.parse(line))).on("close", () => process.exit(0));
