import { call, part } from "./api";
import { h, replace, toast } from "./dom";
import { count, transportNames } from "./format";
import { connectionLink } from "./lookback";
import type { Session } from "./session";

interface Row { connectionId: string; user?: string; transport?: string; state: string; node?: string; groups: string[] }
interface Page { connections: Row[]; next: string; total: number }
type Kind = "user" | "group";
interface Names { total: number; next: string }
const shownNames = 50;
const closeTries = 10; // a second between them

const columns = (...titles: string[]) => h("thead", null, h("tr", null, titles.map((t) => h("th", { scope: "col" }, t))));
const problem = (error: unknown) => h("p", { class: "notice bad", role: "alert" }, (error as Error).message);

// hubs is the list of hubs, or one hub's tables.
export function hubs(root: HTMLElement, _: Session, rest: string[]): () => void {
  let over = false;
  if (rest[0]) one(root, rest[0], rest[1] ?? "", () => over);
  else all(root, () => over);
  return () => { over = true; };
}

function all(root: HTMLElement, over: () => boolean): void {
  let cursors = [""]; // of the pages so far
  const table = h("div", null, h("p", { class: "empty" }, "…"));
  const total = h("span", { class: "count" });
  const search = h("input", { name: "search", type: "search", placeholder: "part of the name", "aria-label": "Search hubs", autocomplete: "off" });
  const newer = h("button", { type: "button", onclick: () => { cursors.pop(); void load(); } }, "Previous");
  const older = h("button", { type: "button" }, "Next");
  replace(root, h("h1", null, "Hubs"), h("section", { class: "card", "aria-label": "Hubs" }, h("header", null, h("h3", null, "Hubs ", total),
    h("form", { class: "row", onsubmit: (e: Event) => { e.preventDefault(); cursors = [""]; void load(); } }, search, h("button", { type: "submit" }, "Search"))), table, h("div", { class: "row foot" }, newer, older)));

  async function load(): Promise<void> {
    try {
      const query = new URLSearchParams({ search: search.value.trim(), cursor: cursors[cursors.length - 1]! });
      const page = (await call<{ hubs: { hub: string; connections: number }[]; next: string; total: number }>("GET", `console/api/hubs?${query}`)).body;
      if (over()) return;
      total.textContent = count(page.total);
      newer.disabled = cursors.length === 1;
      older.disabled = page.next === "";
      older.onclick = () => { cursors.push(page.next); void load(); };
      replace(table, page.hubs.length === 0 ? h("p", { class: "empty" }, search.value ? "No hub matches." : "No hub has been used yet. The first connection or send makes one.") : h("div", { class: "scroll" }, h("table", null, columns("Hub", "Connections", ""),
        h("tbody", null, page.hubs.map((row) => h("tr", null, h("th", { scope: "row" }, h("a", { href: `#/hubs/${part(row.hub)}` }, row.hub)), h("td", null, count(row.connections)), h("td", { class: "right" }, h("a", { href: `#/log/${part(row.hub)}` }, "Look back"))))))));
    } catch (error) { replace(table, problem(error)); }
  }
  void load();
}

function one(root: HTMLElement, hub: string, find: string, over: () => boolean): void {
  const api = `api/hubs/${part(hub)}`;
  let cursors = [""]; // of the pages so far
  const search = h("input", { name: "search", type: "search", placeholder: "ID, user or group", value: find, "aria-label": "Search connections", autocomplete: "off" });
  const connections = h("div");
  let of: { kind: Kind; name: string } | null = null; // whose connections are shown; null: all that are searched
  const only = h("div");
  const users = names(api, "user", over, (name) => show({ kind: "user", name }, ""));
  const groups = names(api, "group", over, (name) => show({ kind: "group", name }, ""));
  const total = h("span", { class: "count" });
  const group = h("input", { name: "group", placeholder: "group", "aria-label": "Group to join", autocomplete: "off" });
  const newer = h("button", { type: "button", onclick: () => { cursors.pop(); void load(); } }, "Previous");
  const older = h("button", { type: "button" }, "Next");
  replace(root, h("h1", null, h("a", { href: "#/hubs" }, "Hubs"), ` / ${hub}`),
    h("div", { class: "columns wide-left" },
      h("section", { class: "card", "aria-label": "Connections" }, h("header", null, h("h3", null, "Connections ", total),
        h("form", { class: "row", onsubmit: (e: Event) => { e.preventDefault(); show(null, search.value.trim()); } }, search, h("button", { type: "submit" }, "Search"))),
        only, connections, h("div", { class: "row foot" }, newer, older, h("span", { class: "push" }), h("label", { class: "row quiet" }, "Join puts it into", group))),
      h("div", { class: "stack" }, users.el, groups.el)));

  function show(whose: typeof of, text: string): void {
    of = whose;
    search.value = text;
    cursors = [""];
    replace(only, of && h("ul", { class: "chips" }, h("li", null, `${of.kind} ${of.name}`, h("button", { type: "button", "aria-label": "Show all connections", onclick: () => show(null, "") }, "×"))));
    void load();
  }
  async function act(what: string, method: string, path: string): Promise<void> {
    try {
      await call(method, path);
      toast(what);
    } catch (error) { toast((error as Error).message, true); }
    await Promise.all([load(), users.load(), groups.load()]);
  }
  // A connection ends when its client has been sent what comes before; until then it is listed.
  async function close(id: string): Promise<void> {
    await act("Closed", "DELETE", `${api}/connections/${part(id)}?reason=${part("closed by an operator")}`);
    for (let tries = 0; tries < closeTries && !over() && connections.querySelector(`[data-connection="${id}"]`); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (!over()) await Promise.all([load(), users.load(), groups.load()]);
    }
  }
  const row = (c: Row) => h("tr", { "data-connection": c.connectionId }, h("th", { scope: "row" }, connectionLink(hub, c.connectionId)), h("td", null, c.user ?? ""), h("td", null, transportNames[c.transport ?? ""] ?? "–"),
    h("td", null, c.node ?? "–"), h("td", { class: "wrap" }, c.groups.map((g) => h("span", { class: "tag" }, g))),
    h("td", { class: "right" }, h("button", { type: "button", class: "small", onclick: () => {
      const name = group.value.trim();
      if (name) void act(`Joined ${name}`, "PUT", `${api}/groups/${part(name)}/connections/${part(c.connectionId)}`);
      else { toast("Name the group below first"); group.focus(); }
    } }, "Join"), h("button", { type: "button", class: "small danger", onclick: () => void close(c.connectionId) }, "Close")));

  async function load(): Promise<void> {
    try {
      const cursor = cursors[cursors.length - 1]!;
      const path = of ? `${api}/${of.kind}s/${part(of.name)}/connections?${new URLSearchParams({ limit: "50", cursor })}` : `console/${api}/connections?${new URLSearchParams({ search: search.value.trim(), cursor })}`;
      const page = (await call<Page>("GET", path)).body;
      if (over()) return;
      total.textContent = count(page.total);
      newer.disabled = cursors.length === 1;
      older.disabled = page.next === "";
      older.onclick = () => { cursors.push(page.next); void load(); };
      replace(connections, page.connections.length === 0 ? h("p", { class: "empty" }, page.next ? "None of these matches; Next looks on." : search.value || of ? "No connection matches." : "Nobody is connected.")
        : h("div", { class: "scroll" }, h("table", null, columns("Connection", "User", "Transport", "Node", "Groups", ""), h("tbody", null, page.connections.map(row)))));
    } catch (error) { replace(connections, problem(error)); }
  }
  void load();
  void users.load();
  void groups.load();
}

// names is a hub's users or groups that have connections, in pages; each leads to its own.
function names(api: string, kind: Kind, over: () => boolean, chosen: (name: string) => void): { el: HTMLElement; load: () => Promise<void> } {
  let cursors: string[] = []; // of the pages so far; empty: what the search begins with
  const table = h("div");
  const total = h("span", { class: "count" });
  const search = h("input", { name: `${kind}s`, type: "search", placeholder: "begins with", autocomplete: "off", "aria-label": `Search ${kind}s`, oninput: () => { cursors = []; void load(); } });
  const newer = h("button", { type: "button", class: "small", onclick: () => { cursors.pop(); void load(); } }, "Previous");
  const older = h("button", { type: "button", class: "small" }, "Next");
  const title = kind === "user" ? "Users" : "Groups";
  const el = h("section", { class: "card", "aria-label": title }, h("header", null, h("h3", null, title, " ", total), search), table, h("div", { class: "row foot" }, newer, older));
  let run = 0;

  async function load(): Promise<void> {
    const mine = ++run;
    try {
      const begin = search.value.trim();
      const query = new URLSearchParams({ limit: String(shownNames), cursor: cursors[cursors.length - 1] ?? before(begin) });
      const page = (await call<Names & Record<string, Record<string, string | number>[]>>("GET", `${api}/${kind}s?${query}`)).body;
      if (over() || mine !== run) return;
      const rows = page[`${kind}s`]!.map((row) => ({ name: String(row[kind]), connections: Number(row["connections"]) })).filter((row) => row.name.startsWith(begin));
      const next = rows.length < shownNames ? "" : page.next;
      total.textContent = count(page.total);
      newer.disabled = cursors.length === 0;
      older.disabled = next === "";
      older.onclick = () => { cursors.push(next); void load(); };
      replace(table, rows.length === 0 ? h("p", { class: "empty" }, begin ? `No ${kind} begins with it.` : `No ${kind}s.`) : h("div", { class: "scroll short" }, h("table", null, columns("Name", "Connections"),
        h("tbody", null, rows.map((n) => h("tr", null, h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => chosen(n.name) }, n.name)), h("td", null, count(n.connections))))))));
    } catch (error) { if (mine === run) replace(table, problem(error)); }
  }
  return { el, load };
}

// before is the cursor of the page that begins with a name, or with the first after it: in UTF-8 no name is between the two.
function before(name: string): string {
  const bytes = [...new TextEncoder().encode(name)];
  const last = bytes.pop();
  if (last === undefined) return "";
  return btoa(String.fromCharCode(...bytes, last - 1, 0xff)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
