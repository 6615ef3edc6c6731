// The node that served the page, and the key that its data is asked for with. The key lives as long as the tab.

export interface Session { node: string; version: string; keys: boolean; allowed: boolean; payloads: boolean }

const storage = "hubstream.key";
let key = sessionStorage.getItem(storage) ?? "";

export function setKey(value: string): void {
  key = value;
  sessionStorage.setItem(storage, value);
}

export function headers(): Record<string, string> {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export async function load(): Promise<Session> {
  const answer = await fetch("console/session", { headers: headers(), cache: "no-store" });
  if (!answer.ok) throw new Error(`console/session: ${answer.status}`);
  return answer.json() as Promise<Session>;
}
