import { hubUrl, type Settings } from "./client";
import { part } from "./api";

export interface Send { audience: string; name: string; target: string; args: unknown[] }

// bodyOf is a send as the API takes it.
export function bodyOf(s: Send): Record<string, unknown> {
  const body: Record<string, unknown> = { target: s.target, arguments: s.args };
  if (s.audience !== "all") body[s.audience] = [s.name];
  return body;
}

export const sendPath = (hub: string) => `api/hubs/${part(hub)}/send`;

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(hub: string, s: Send, keys: boolean): string {
  return [`curl -X POST ${quote(new URL(sendPath(hub), document.baseURI).href)} \\`,
    ...(keys ? [`     -H "Authorization: Bearer $TOKEN" \\`] : []),
    `     -H 'Content-Type: application/json' \\`, `     -d ${quote(JSON.stringify(bodyOf(s)))}`].join("\n");
}

export function javascript(connection: Settings, s: Send, keys: boolean): string {
  const options: string[] = [];
  if (connection.transport !== "auto") options.push(`transport: signalR.HttpTransportType.${connection.transport}`);
  if (keys) options.push("accessTokenFactory: () => token");
  const url = JSON.stringify(hubUrl(connection));
  const lines = ["// receive", "const connection = new signalR.HubConnectionBuilder()",
    `  .withUrl(${url}${options.length ? `, { ${options.join(", ")} }` : ""})`];
  if (connection.protocol === "messagepack") lines.push("  .withHubProtocol(new signalR.protocols.msgpack.MessagePackHubProtocol())");
  if (connection.stateful) lines.push("  .withStatefulReconnect()");
  lines.push("  .withAutomaticReconnect()", "  .build();",
    `connection.on(${JSON.stringify(s.target)}, (...args) => console.log(...args));`, "await connection.start();", "",
    "// send, from a backend", `await fetch(${JSON.stringify(new URL(sendPath(connection.hub), document.baseURI).href)}, {`,
    `  method: "POST",`, `  headers: { "Content-Type": "application/json"${keys ? ", Authorization: `Bearer ${token}`" : ""} },`,
    `  body: JSON.stringify(${JSON.stringify(bodyOf(s))}),`, "});");
  return lines.join("\n");
}
