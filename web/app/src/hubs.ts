import { call, part } from "./api";
import { h, replace, toast } from "./dom";
import { count, transportNames } from "./format";
import { connectionLink } from "./lookback";
import type { Session } from "./session";

interface Row { connectionId: string; user?: string; transport?: string; state: string; node?: string; groups: string[] }
interface Page { connections: Row[]; next: string; total: number }
interface Name { name: string; connections: number }

const columns = (...titles: string[]) => h("thead", null, h("tr", null, titles.map((t) => h("th", { scope: "col" }, t))));
const problem = (error: unknown) => h("p", { class: "notice bad", role: "alert" }, (error as Error).message);

// hubs is the list of hubs, or one hub's tables.
export function hubs(root: HTMLElement, _: Session, rest: string[]): () => void {
  let over = false;
  if (rest[0]) one(root, rest[0], rest[1] ?? "", () => over);
  else void all(root);
  return () => { over = true; };
}

async function all(root: HTMLElement): Promise<void> {
  const table = h("div", null, h("p", { class: "empty" }, "…"));
  replace(root, h("h1", null, "Hubs"), h("section", { class: "card", "aria-label": "Hubs" }, table));
  try {
    const { hubs: rows, partial } = (await call<{ hubs: { hub: string; connections: number }[]; partial: boolean }>("GET", "console/api/hubs")).body;
    replace(table, rows.length === 0 ? h("p", { class: "empty" }, "No hub has been used yet. The first connection or send makes one.") : h("div", { class: "scroll" }, h("table", null, columns("Hub", "Connections", ""),
      h("tbody", null, rows.map((row) => h("tr", null, h("th", { scope: "row" }, h("a", { href: `#/hubs/${part(row.hub)}` }, row.hub)), h("td", null, count(row.connections)), h("td", { class: "right" }, h("a", { href: `#/log/${part(row.hub)}` }, "Look back"))))))),
      partial && h("p", { class: "empty" }, "There are more hubs than are listed."));
  } catch (error) { replace(table, problem(error)); }
}

function one(root: HTMLElement, hub: string, find: string, over: () => boolean): void {
  const api = `api/hubs/${part(hub)}`;
  let cursors = [""]; // of the pages so far
  const search = h("input", { name: "search", type: "search", placeholder: "ID, user or group", value: find, "aria-label": "Search connections", autocomplete: "off" });
  const connections = h("div");
  const users = h("div");
  const groups = h("div");
  const total = h("span", { class: "count" });
  const group = h("input", { name: "group", placeholder: "group", "aria-label": "Group to join", autocomplete: "off" });
  const newer = h("button", { type: "button", onclick: () => { cursors.pop(); void load(); } }, "Previous");
  const older = h("button", { type: "button" }, "Next");
  replace(root, h("h1", null, h("a", { href: "#/hubs" }, "Hubs"), ` / ${hub}`),
    h("div", { class: "columns wide-left" },
      h("section", { class: "card", "aria-label": "Connections" }, h("header", null, h("h3", null, "Connections ", total),
        h("form", { class: "row", onsubmit: (e: Event) => { e.preventDefault(); look(search.value.trim()); } }, search, h("button", { type: "submit" }, "Search"))),
        connections, h("div", { class: "row foot" }, newer, older, h("span", { class: "push" }), h("label", { class: "row quiet" }, "Join puts it into", group))),
      h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "Users" }, h("header", null, h("h3", null, "Users")), users),
        h("section", { class: "card", "aria-label": "Groups" }, h("header", null, h("h3", null, "Groups")), groups))));

  function look(text: string): void {
    search.value = text;
    cursors = [""];
    void load();
  }
  async function act(what: string, method: string, path: string): Promise<void> {
    try {
      await call(method, path);
      toast(what);
    } catch (error) { toast((error as Error).message, true); }
    await Promise.all([load(), names()]);
  }
  const row = (c: Row) => h("tr", { "data-connection": c.connectionId }, h("th", { scope: "row" }, connectionLink(hub, c.connectionId)), h("td", null, c.user ?? ""), h("td", null, transportNames[c.transport ?? ""] ?? "–"),
    h("td", null, c.node ?? "–"), h("td", { class: "wrap" }, c.groups.map((g) => h("span", { class: "tag" }, g))),
    h("td", { class: "right" }, h("button", { type: "button", class: "small", onclick: () => {
      const name = group.value.trim();
      if (name) void act(`Joined ${name}`, "PUT", `${api}/groups/${part(name)}/connections/${part(c.connectionId)}`);
      else { toast("Name the group below first"); group.focus(); }
    } }, "Join"), h("button", { type: "button", class: "small danger", onclick: () => void act("Closed", "DELETE", `${api}/connections/${part(c.connectionId)}?reason=${part("closed by an operator")}`) }, "Close")));

  async function load(): Promise<void> {
    try {
      const query = new URLSearchParams({ search: search.value.trim(), cursor: cursors[cursors.length - 1]! });
      const page = (await call<Page>("GET", `console/${api}/connections?${query}`)).body;
      if (over()) return;
      total.textContent = count(page.total);
      newer.disabled = cursors.length === 1;
      older.disabled = page.next === "";
      older.onclick = () => { cursors.push(page.next); void load(); };
      replace(connections, page.connections.length === 0 ? h("p", { class: "empty" }, search.value ? "No connection matches." : "Nobody is connected.")
        : h("div", { class: "scroll" }, h("table", null, columns("Connection", "User", "Transport", "Node", "Groups", ""), h("tbody", null, page.connections.map(row)))));
    } catch (error) { replace(connections, problem(error)); }
  }
  async function names(): Promise<void> {
    try {
      const all = (await call<{ users: Name[]; groups: Name[]; partial: boolean }>("GET", `console/${api}/names`)).body;
      if (over()) return;
      for (const [place, rows, none] of [[users, all.users, "No users."], [groups, all.groups, "No groups."]] as const) {
        replace(place, rows.length === 0 ? h("p", { class: "empty" }, none) : h("div", { class: "scroll short" }, h("table", null, columns("Name", "Connections"),
          h("tbody", null, rows.map((n) => h("tr", null, h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => look(n.name) }, n.name)), h("td", null, count(n.connections))))))),
          all.partial && h("p", { class: "quiet" }, "Counted over a part of the connections."));
      }
    } catch (error) { replace(users, problem(error)); }
  }
  void load();
  void names();
}
