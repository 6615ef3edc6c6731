import { call, part } from "./api";
import { field, h, replace, select, toast } from "./dom";
import { bytes, clock } from "./format";
import type { Session } from "./session";

export interface Entry {
  position: string; at: string; kind: string; bytes: number; all?: boolean; groups?: string[]; users?: string[]; connections?: string[]; excluded?: string[];
  verb?: string; named?: string[]; target?: string; message?: { arguments?: unknown }; reason?: string; sent?: boolean; acknowledged?: boolean;
}
interface Log { next: string; more: boolean; gap: boolean; entries: Entry[] }

const mostShown = 500;
const followEvery = 2000; // ms

export const connectionLink = (hub: string, id: string) => h("a", { href: `#/connection/${part(hub)}/${part(id)}` }, h("code", null, id));

function audience(hub: string, e: Entry): (Node | string)[] {
  const parts: (Node | string)[] = [];
  if (e.all) parts.push(h("span", { class: "tag" }, "all"));
  for (const [what, names] of [["group", e.groups], ["user", e.users]] as const) for (const name of names ?? []) parts.push(h("span", { class: "tag" }, `${what} ${name}`));
  for (const id of e.connections ?? []) parts.push(h("span", { class: "tag" }, connectionLink(hub, id)));
  for (const id of e.excluded ?? []) parts.push(h("span", { class: "tag off" }, "not ", connectionLink(hub, id)));
  return parts;
}

// timeline shows entries, newest first. forOne: a connection was asked about, so what arrived is known.
export function timeline(hub: string, entries: Entry[], forOne: boolean): HTMLElement {
  return h("ol", { class: "timeline" }, entries.map((e) => h("li", { class: e.kind },
    h("time", { dateTime: e.at, title: e.position }, clock(new Date(e.at))), h("span", { class: "kind" }, e.kind),
    h("div", { class: "what" }, h("div", { class: "tags" }, e.target !== undefined && h("b", null, e.target), e.verb && h("b", null, `${e.verb} ${(e.named ?? []).join(", ")}`), audience(hub, e)),
      e.message && h("code", null, e.target === undefined ? JSON.stringify(e.message) : JSON.stringify(e.message.arguments)), e.reason && h("code", null, e.reason)),
    h("span", { class: "end" }, forOne && e.sent ? h("span", { class: `pill ${e.acknowledged ? "good" : "warn"}` }, e.acknowledged ? "acknowledged" : "not acknowledged") : h("span", { class: "quiet" }, bytes(e.bytes))))));
}

export async function logOf(hub: string, query: Record<string, string>): Promise<Log> {
  const filters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  return (await call<Log>("GET", `console/api/hubs/${part(hub)}/log?${filters}`)).body;
}

const asked = { hub: "chat", user: "", group: "", connection: "", target: "", broadcasts: "", since: "60" };

export function lookBack(root: HTMLElement, session: Session, rest: string[]): () => void {
  if (rest[0]) asked.hub = rest[0];
  let entries: Entry[] = [];
  let next = "";
  let timer = 0;
  let run = 0;

  const hubs = h("datalist", { id: "hubs" });
  const text = (name: "hub" | "user" | "group" | "connection" | "target", placeholder: string) => h("input", {
    name, value: asked[name], placeholder, autocomplete: "off", spellcheck: false, list: name === "hub" ? "hubs" : undefined, onchange: (e: Event) => { asked[name] = (e.target as HTMLInputElement).value.trim(); },
  });
  const since = select("since", [["10", "the last 10 s"], ["60", "the last minute"], ["600", "the last 10 min"], ["", "all that is kept"]], asked.since);
  since.onchange = () => { asked.since = since.value; };
  const broadcasts = h("input", { type: "checkbox", name: "broadcasts", checked: asked.broadcasts !== "", onchange: () => { asked.broadcasts = broadcasts.checked ? "true" : ""; } });
  const follow = h("input", { type: "checkbox", name: "follow", checked: true, onchange: () => schedule() });
  const list = h("div");
  const count = h("span", { class: "count" });
  const form = h("form", { class: "filters", onsubmit: (e: Event) => { e.preventDefault(); void begin(); } },
    field("Hub", text("hub", "chat")), field("User", text("user", "any")), field("Group", text("group", "any")), field("Connection", text("connection", "any")), field("Target", text("target", "any")), field("From", since),
    h("label", { class: "check" }, broadcasts, "Only to all"), h("label", { class: "check" }, follow, "Follow"), h("button", { type: "submit", class: "primary" }, "Look"));
  replace(root, h("h1", null, "Look back"), h("section", { class: "card", "aria-label": "Filters" }, form, hubs),
    h("section", { class: "card spaced", "aria-label": "Log" }, h("header", null, h("div", null, h("h3", null, "Log ", count),
      h("p", null, session.payloads ? "Payloads are shown." : "Payloads are masked; -console-payloads shows them.")),
      h("button", { type: "button", onclick: () => { if (asked.connection) location.hash = `#/connection/${part(asked.hub)}/${part(asked.connection)}`; else toast("Name a connection first"); } }, "Open connection")), list));

  function draw(): void {
    count.textContent = entries.length ? `${entries.length}${entries.length === mostShown ? "+" : ""}` : "";
    replace(list, entries.length ? timeline(asked.hub, entries, asked.connection !== "") : h("p", { class: "empty" }, "Nothing in the log matches."));
  }
  function schedule(): void {
    clearTimeout(timer);
    if (follow.checked) timer = window.setTimeout(() => void more(run), followEvery);
  }
  async function more(mine: number): Promise<void> {
    try {
      for (let again = true; again && mine === run;) {
        const { since: seconds, hub, ...filters } = asked;
        const log = await logOf(hub, { ...filters, since: seconds, after: next, limit: String(mostShown) });
        if (mine !== run) return;
        if (log.next !== "0-0") next = log.next;
        entries = [...log.entries.reverse(), ...entries].slice(0, mostShown);
        again = log.more;
        draw(); // a busy hub's log may have no end that is reached
      }
    } catch (error) {
      if (mine === run) replace(list, h("p", { class: "notice bad", role: "alert" }, (error as Error).message));
      return;
    }
    schedule();
  }
  async function begin(): Promise<void> {
    entries = [];
    next = "";
    clearTimeout(timer);
    await more(++run);
  }
  void call<{ hubs: { hub: string }[] }>("GET", "console/api/hubs").then((a) => replace(hubs, a.body.hubs.map((row) => h("option", { value: row.hub })))).catch(() => {});
  void begin();
  return () => { run++; clearTimeout(timer); };
}
