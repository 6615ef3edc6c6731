import * as signalR from "@microsoft/signalr";
import { SeeingClient, type Seen } from "./http";

export interface Settings {
  hub: string; user: string; transport: string; protocol: string; stateful: boolean; token: string;
}

export interface Events {
  message(target: string, args: unknown[]): void;
  state(state: string, detail: string): void;
  seen(s: Seen): void;
  opened(kind: string): void; // a WebSocket or an event stream, whose answer no page can read
}

export function hubUrl(s: Settings): string {
  const url = new URL(`hubs/${encodeURIComponent(s.hub)}`, document.baseURI);
  if (s.user) url.searchParams.set("user", s.user);
  return url.href;
}

// everyTarget makes a connection listen to each method that the server calls, just before it is called first: the
// client only knows methods that were registered.
function everyTarget(protocol: signalR.IHubProtocol, met: (target: string) => void): signalR.IHubProtocol {
  return {
    name: protocol.name, version: protocol.version, transferFormat: protocol.transferFormat,
    writeMessage: (message) => protocol.writeMessage(message),
    parseMessages: (input, logger) => {
      const messages = protocol.parseMessages(input, logger);
      for (const message of messages) if (message.type === signalR.MessageType.Invocation) met(message.target);
      return messages;
    },
  };
}

// transportName is the transport that the client has chosen.
export function transportName(hub: signalR.HubConnection): string {
  const inner = (hub as unknown as { connection?: { transport?: object } }).connection?.transport;
  if (!inner) return "";
  if ("_webSocket" in inner || "_webSocketConstructor" in inner) return "WebSockets";
  return "_eventSource" in inner || "_eventSourceConstructor" in inner ? "ServerSentEvents" : "LongPolling";
}

// connect starts the official client.
export async function connect(s: Settings, events: Events): Promise<signalR.HubConnection> {
  class SeenWebSocket extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      this.addEventListener("open", () => events.opened("websocket"));
    }
  }
  class SeenEventSource extends EventSource {
    constructor(url: string | URL, init?: EventSourceInit) {
      super(url, init);
      this.addEventListener("open", () => events.opened("events"));
    }
  }
  const options = {
    httpClient: new SeeingClient(events.seen), WebSocket: SeenWebSocket, EventSource: SeenEventSource,
  } as signalR.IHttpConnectionOptions; // the last two are not in its types
  if (s.transport !== "auto") options.transport = signalR.HttpTransportType[s.transport as keyof typeof signalR.HttpTransportType];
  if (s.token) options.accessTokenFactory = () => s.token;
  const listened = new Set<string>();
  const listen = (target: string) => {
    if (listened.has(target)) return;
    listened.add(target);
    hub.on(target, (...args: unknown[]) => events.message(target, args));
  };
  const protocol = s.protocol === "messagepack"
    ? new (await import("@microsoft/signalr-protocol-msgpack")).MessagePackHubProtocol() : new signalR.JsonHubProtocol();
  const builder = new signalR.HubConnectionBuilder().withUrl(hubUrl(s), options).configureLogging(signalR.LogLevel.Warning)
    .withAutomaticReconnect().withHubProtocol(everyTarget(protocol, listen));
  if (s.stateful) builder.withStatefulReconnect();
  const hub = builder.build();
  hub.onreconnecting((error) => events.state("reconnecting", error?.message ?? ""));
  hub.onreconnected(() => events.state("connected", "reconnected"));
  hub.onclose((error) => events.state("closed", error?.message ?? ""));
  await hub.start();
  return hub;
}
