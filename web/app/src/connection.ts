import { ApiError, call, part } from "./api";
import { h, replace, toast } from "./dom";
import { rows } from "./feed";
import { clock, duration, transportNames } from "./format";
import { logOf, timeline, type Entry } from "./lookback";
import type { Session } from "./session";

interface Page {
  connectionId: string; user?: string; transport?: string; state: string; node?: string; groups: string[]; protocol?: string; stateful: boolean;
  since: string; cursor: string; last: string; behind: number; resumed: number; answers: number; lagMs?: number;
  return?: { at: string; from: string; why: string };
}

const every = 2000; // ms
const mostShown = 100;

// place is a position, or a receipt, as numbers.
const place = (position: string) => position.slice(position.indexOf(".") + 1).split("-").map(Number) as [number, number];

// isAfter tells whether a position comes after another.
function isAfter(a: string, b: string): boolean {
  const [[aMs, aSeq], [bMs, bSeq]] = [place(a), place(b)];
  return aMs > bMs || (aMs === bMs && aSeq > bSeq);
}

const left: Record<string, string> = {
  socket: "its socket ended: the network cut it, or the client did", timeout: "the client had sent nothing for too long",
  write: "the client took nothing more, or its socket failed", drain: "the node was about to stop",
  dropped: "the node could not take what the client sent, and cut the socket",
};

// whyReturned says when a client came back, from where, and why it had to.
function whyReturned(r: Page["return"]): string {
  if (!r) return "it has not, or by a node of an earlier version";
  const from = rows.find((row) => row.name === r.from);
  const alive = from && !from.gone && from.report.state !== "stopped";
  const why = r.why ? left[r.why] ?? r.why : alive ? "the node did not know yet that its socket had ended" : "the node is gone";
  return `${clock(new Date(r.at))} from ${r.from}: ${why}`;
}

// connection is one connection's page: what it is, its groups, how far it is, what it was sent.
export function connection(root: HTMLElement, _: Session, rest: string[]): () => void {
  const [hub = "", id = ""] = rest;
  let timer = 0;
  let over = false;
  let run = 0;
  let recent: Entry[] = []; // newest first
  let next = ""; // where the log goes on after them
  const facts = h("dl", { class: "facts" });
  const groups = h("ul", { class: "chips" });
  const log = h("div");
  const alert = h("p", { class: "notice bad", role: "alert", hidden: true });
  const path = `api/hubs/${part(hub)}/connections/${part(id)}`;
  const act = async (what: string, method: string, address: string) => {
    try {
      await call(method, address);
      toast(what);
      await refresh();
    } catch (error) { toast((error as Error).message, true); }
  };
  const member = (group: string, method: string) => act(method === "PUT" ? `Joined ${group}` : `Left ${group}`, method, `api/hubs/${part(hub)}/groups/${part(group)}/connections/${part(id)}`);
  const group = h("input", { name: "group", placeholder: "group", autocomplete: "off", "aria-label": "Group to join" });
  replace(root, h("h1", null, "Connection ", h("code", null, id)), alert,
    h("div", { class: "columns" },
      h("div", { class: "stack" },
        h("section", { class: "card", "aria-label": "Facts" }, h("header", null, h("h3", null, "Now"), h("button", { type: "button", class: "danger", onclick: () => void act("Closed", "DELETE", `${path}?reason=${part("closed by an operator")}`) }, "Close connection")), facts),
        h("section", { class: "card", "aria-label": "Groups" }, h("header", null, h("h3", null, "Groups")),
          h("form", { class: "row", onsubmit: (e: Event) => { e.preventDefault(); if (group.value.trim()) void member(group.value.trim(), "PUT"); group.value = ""; } }, group, h("button", { type: "submit" }, "Join group")), groups)),
      h("section", { class: "card", "aria-label": "Recent entries" }, h("header", null, h("div", null, h("h3", null, "Recent entries"), h("p", null, "what the hub's log has for it, newest first"))), log)));

  // follow reads on in the log, to its end. What is acknowledged meanwhile the cursor tells.
  async function follow(mine: number, cursor: string): Promise<void> {
    for (let more = true; more;) {
      const read = await logOf(hub, { connection: id, after: next, limit: "500" });
      if (over || mine !== run) return;
      if (read.next !== "0-0") next = read.next;
      recent = [...read.entries.reverse(), ...recent].slice(0, mostShown);
      more = read.more;
    }
    for (const e of recent) e.acknowledged = e.sent === true && cursor !== "" && !isAfter(e.position, cursor);
    replace(log, recent.length ? timeline(hub, recent, cursor !== "") : h("p", { class: "empty" }, "Nothing is kept that was for it."));
  }
  async function refresh(): Promise<void> {
    const mine = ++run;
    clearTimeout(timer);
    try {
      const p = (await call<Page>("GET", `console/${path}`)).body;
      const fact = (name: string, value: Node | string) => [h("dt", null, name), h("dd", null, value)];
      replace(facts, fact("Hub", h("a", { href: `#/log/${part(hub)}` }, hub)), fact("State", h("span", { class: `pill ${p.state === "open" ? "good" : "warn"}` }, p.state)), fact("User", p.user || "none"),
        fact("Transport", transportNames[p.transport ?? ""] ?? "none yet"), fact("Protocol", (p.protocol ?? "none yet") + (p.stateful ? ", stateful reconnect" : "")), fact("Served by", p.node || "nobody now; between two requests"),
        fact("Connected for", duration(Date.now() - new Date(p.since).getTime())), fact("Upgrades since", p.stateful ? String(p.resumed) : "–"), fact("Last came back", p.stateful ? whyReturned(p.return) : "–"), fact("Polls answered", p.answers ? String(p.answers) : "–"),
        fact("Cursor", p.cursor ? h("code", null, p.cursor) : "not kept: this client cannot come back"), fact("End of the log", h("code", null, p.last)), fact("Not acknowledged", p.cursor ? `${p.behind} messages` : "–"),
        fact("Lag", p.lagMs === undefined ? "–" : p.lagMs === 0 ? "none" : `${duration(p.lagMs)}, the age of the oldest message not acknowledged`));
      replace(groups, p.groups.length ? p.groups.map((g) => h("li", null, g, h("button", { type: "button", "aria-label": `Leave ${g}`, onclick: () => void member(g, "DELETE") }, "×"))) : h("li", { class: "id" }, "in no group "));
      await follow(mine, p.cursor);
      alert.hidden = true;
    } catch (error) {
      alert.hidden = false;
      const ended = error instanceof ApiError && error.status === 404;
      alert.textContent = ended ? "This connection has ended, or never was." : (error as Error).message;
      if (ended) return;
    }
    if (!over && mine === run) timer = window.setTimeout(() => void refresh(), every);
  }
  void refresh();
  return () => { over = true; clearTimeout(timer); };
}
