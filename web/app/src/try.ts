import type { HubConnection } from "@microsoft/signalr";
import { ApiError, call, part } from "./api";
import { connect, transportName, type Settings } from "./client";
import { bodyOf, curl, javascript, sendPath, type Send } from "./code";
import { copy, field, h, replace, select, toast } from "./dom";
import { clock, transportNames } from "./format";
import type { Seen } from "./http";
import type { Session } from "./session";

interface Message { at: Date; target: string; args: string; took: number | null }
interface Sent { began: number; text: string }

const mostShown = 200;

// The connection outlives a look at another page.
const state = {
  hub: null as HubConnection | null, phase: "disconnected", detail: "", node: "", transport: "", id: "",
  groups: new Set<string>(), messages: [] as Message[], requests: [] as Seen[], sent: [] as Sent[],
  settings: { hub: "chat", user: "ada", transport: "auto", protocol: "json", stateful: true, token: "" } as Settings,
  send: { audience: "all", name: "", target: "message" }, args: `["hello", 1]`, code: "curl",
};
let redraw: () => void = () => {};
let attempt = 0;

function matched(text: string): number | null {
  const now = performance.now();
  state.sent = state.sent.filter((s) => now - s.began < 30_000);
  const i = state.sent.findIndex((s) => s.text === text);
  return i < 0 ? null : now - state.sent.splice(i, 1)[0]!.began;
}

// whereAmI asks which node serves the connection: no page can read the answer to an upgrade.
async function whereAmI(): Promise<void> {
  const id = state.hub?.connectionId;
  if (!id) return;
  state.id = id;
  try {
    const answer = await call<{ node?: string }>("GET", `api/hubs/${part(state.settings.hub)}/connections/${part(id)}`);
    state.node = answer.body.node ?? state.node;
    for (const r of state.requests) if (!r.node) r.node = state.node; // the upgrade, just before
  } catch { /* between two nodes, or closed */ }
  redraw();
}

async function open(): Promise<void> {
  const mine = ++attempt;
  Object.assign(state, { phase: "connecting", detail: "", node: "", transport: "", id: "", requests: [], sent: [] });
  state.groups.clear();
  redraw();
  try {
    const hub = await connect({ ...state.settings }, {
      message(target, args) {
        const text = JSON.stringify(args);
        state.messages.unshift({ at: new Date(), target, args: text, took: matched(`${target} ${text}`) });
        state.messages.length = Math.min(state.messages.length, mostShown);
        redraw();
      },
      state(phase, detail) {
        if (mine !== attempt) return;
        Object.assign(state, { phase, detail });
        if (phase === "closed") state.hub = null;
        else void whereAmI();
        redraw();
      },
      seen(s) {
        state.requests.unshift(s);
        state.requests.length = Math.min(state.requests.length, 50);
        if (s.kind === "poll" && s.status === 200) state.node = s.node;
        redraw();
      },
      opened(kind) {
        state.requests.unshift({ at: new Date(), kind, method: "GET", status: kind === "events" ? 200 : 101, node: "", took: 0 });
        setTimeout(() => void whereAmI(), 250);
        redraw();
      },
    });
    if (mine !== attempt) return void hub.stop();
    state.hub = hub;
    Object.assign(state, { phase: "connected", transport: transportName(hub) });
    await whereAmI();
  } catch (error) {
    if (mine === attempt) Object.assign(state, { phase: "failed", detail: error instanceof Error ? error.message : String(error) });
  }
  redraw();
}

async function close(): Promise<void> {
  attempt++;
  const hub = state.hub;
  state.hub = null;
  Object.assign(state, { phase: "disconnected", detail: "" });
  redraw();
  await hub?.stop();
}

async function membership(group: string, join: boolean): Promise<void> {
  if (!group) return;
  try {
    await call(join ? "PUT" : "DELETE", `api/hubs/${part(state.settings.hub)}/groups/${part(group)}/connections/${part(state.id)}`);
    if (join) state.groups.add(group);
    else state.groups.delete(group);
  } catch (error) {
    toast((error as Error).message, true);
  }
  redraw();
}

const heldBy = (phase: string) => ["connected", "reconnecting", "connecting"].includes(phase);
const kinds: Record<string, string> = { connected: "good", connecting: "warn", reconnecting: "warn", failed: "bad", closed: "bad", disconnected: "off" };

export function tryIt(root: HTMLElement, session: Session): () => void {
  const s = state.settings;
  const input = (name: keyof Settings & ("hub" | "user" | "token"), extra: Record<string, unknown> = {}) =>
    h("input", { name, value: s[name], autocomplete: "off", spellcheck: false, oninput: (e: Event) => { s[name] = (e.target as HTMLInputElement).value.trim(); show(); }, ...extra });
  const transport = select("transport", [["auto", "Automatic, with fallback"], ["WebSockets", "WebSockets"], ["ServerSentEvents", "Server-Sent Events"], ["LongPolling", "Long polling"]], s.transport);
  const protocol = select("protocol", [["json", "JSON"], ["messagepack", "MessagePack"]], s.protocol);
  transport.onchange = () => { s.transport = transport.value; show(); };
  protocol.onchange = () => { s.protocol = protocol.value; show(); };
  const stateful = h("input", { type: "checkbox", name: "stateful", checked: s.stateful, onchange: () => { s.stateful = stateful.checked; show(); } });
  const button = h("button", { type: "submit", class: "primary" });
  const status = h("div", { class: "status", role: "status" });
  const form = h("form", { class: "grid", onsubmit: (e: Event) => { e.preventDefault(); void (heldBy(state.phase) ? close() : open()); } },
    field("Hub", input("hub", { required: true })), session.keys ? field("Client access token", input("token")) : field("User", input("user", { placeholder: "none" })),
    field("Transport", transport), field("Protocol", protocol),
    h("label", { class: "check" }, stateful, "Stateful reconnect"), button);

  const chips = h("ul", { class: "chips" });
  const group = h("input", { name: "group", placeholder: "group", autocomplete: "off", "aria-label": "Group to join" });
  const groups = h("form", { class: "row", onsubmit: (e: Event) => { e.preventDefault(); void membership(group.value.trim(), true); group.value = ""; } },
    group, h("button", { type: "submit" }, "Join group"));
  const groupArea = h("div", { class: "groups" }, groups, chips);

  const audience = select("audience", [["all", "All"], ["groups", "Group"], ["users", "User"], ["connections", "Connection"]], state.send.audience);
  const name = h("input", { name: "name", value: state.send.name, autocomplete: "off", oninput: () => { state.send.name = name.value.trim(); show(); } });
  const nameField = field("Name", name);
  audience.onchange = () => {
    state.send.audience = audience.value;
    name.value = state.send.name = { users: s.user, connections: state.id, groups: [...state.groups][0] ?? "" }[audience.value] ?? "";
    show();
  };
  const target = h("input", { name: "target", value: state.send.target, required: true, autocomplete: "off", oninput: () => { state.send.target = target.value; show(); } });
  const args = h("textarea", { name: "arguments", rows: 3, spellcheck: false, value: state.args, oninput: () => { state.args = args.value; show(); } });
  const result = h("p", { class: "result", role: "status" });
  const code = h("pre", { tabIndex: 0 });
  const tabs = ["curl", "JavaScript"].map((text) => h("button", { type: "button", onclick: () => { state.code = text; show(); } }, text));

  function sendNow(): Send {
    let list: unknown;
    let why = "";
    try {
      list = JSON.parse(state.args);
    } catch (error) {
      why = `: ${(error as Error).message}`;
    }
    if (!Array.isArray(list)) throw new Error(`Arguments must be a JSON array, such as ["hello", 1]${why}`);
    return { ...state.send, args: list };
  }
  async function send(): Promise<void> {
    let sent: Sent | undefined;
    try {
      const what = sendNow();
      sent = { began: performance.now(), text: `${what.target} ${JSON.stringify(what.args)}` };
      state.sent.push(sent);
      const answer = await call<{ position: string }>("POST", sendPath(s.hub), bodyOf(what));
      result.className = "result good";
      replace(result, `Accepted by ${answer.node} in ${answer.took.toFixed(1)} ms, at `, h("code", null, answer.body.position));
    } catch (error) {
      if (error instanceof ApiError) state.sent = state.sent.filter((s) => s !== sent); // the next that is the same is another
      result.className = "result bad";
      result.textContent = error instanceof ApiError ? `${error.status}: ${error.message}` : (error as Error).message;
    }
  }
  const sender = h("form", { class: "grid", onsubmit: (e: Event) => { e.preventDefault(); void send(); } },
    field("To", audience), nameField, field("Target", target),
    h("div", { class: "wide" }, field("Arguments", args)), h("div", { class: "wide row" }, h("button", { type: "submit", class: "primary" }, "Send"), result));

  const messages = h("div");
  const requests = h("div");
  const counter = h("span", { class: "count" });
  replace(root, h("h1", null, "Try"),
    h("div", { class: "columns" },
      h("div", { class: "stack" },
        h("section", { class: "card", "aria-label": "Connection" }, h("header", null, h("h3", null, "Connection"), status), form, groupArea),
        h("section", { class: "card", "aria-label": "Send" }, h("header", null, h("h3", null, "Send")), sender),
        h("section", { class: "card", "aria-label": "The same as code" },
          h("header", null, h("div", { class: "segments", role: "group", "aria-label": "Language" }, tabs), h("button", { type: "button", onclick: () => void copy(code.textContent ?? "") }, "Copy")), code)),
      h("div", { class: "stack" },
        h("section", { class: "card grow", "aria-label": "Messages" }, h("header", null, h("h3", null, "Messages ", counter),
          h("button", { type: "button", onclick: () => { state.messages = []; show(); } }, "Clear")), messages),
        h("section", { class: "card", "aria-label": "Requests" }, h("header", null, h("div", null, h("h3", null, "Requests"), h("p", null, "which node answered each"))), requests))));

  function show(): void {
    const held = heldBy(state.phase);
    button.textContent = held ? "Disconnect" : "Connect";
    button.className = held ? "" : "primary";
    for (const el of form.querySelectorAll<HTMLInputElement>("input, select")) el.disabled = held;
    replace(status, h("span", { class: `pill ${kinds[state.phase] ?? "off"}` }, state.phase),
      state.phase === "connected" && h("span", { class: "where" }, transportNames[state.transport] ?? state.transport, state.node && h("span", null, " at ", h("b", { class: "node" }, state.node))),
      state.detail && state.phase !== "connected" && h("span", { class: "detail" }, state.detail));
    groupArea.hidden = state.phase !== "connected";
    replace(chips, h("li", { class: "id" }, "connection ", h("a", { href: `#/connection/${part(s.hub)}/${part(state.id)}` }, h("code", null, state.id)), h("button", { type: "button", "aria-label": "Copy connection ID", onclick: () => void copy(state.id) }, "copy")),
      [...state.groups].map((g) => h("li", null, g, h("button", { type: "button", "aria-label": `Leave ${g}`, onclick: () => void membership(g, false) }, "×"))));
    nameField.hidden = state.send.audience === "all";
    tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab.textContent === state.code)));
    try {
      const what = sendNow();
      code.textContent = state.code === "curl" ? curl(s.hub, what, session.keys) : javascript(s, what, session.keys);
    } catch (error) {
      code.textContent = `// ${(error as Error).message}`;
    }
    counter.textContent = state.messages.length ? String(state.messages.length) : "";
    replace(messages, state.messages.length === 0 ? h("p", { class: "empty" }, held ? "Connected and listening. Send something." : "Connect, then send: messages appear here as they arrive.")
      : h("ol", { class: "messages" }, state.messages.map((m) => h("li", null, h("time", null, clock(m.at)), h("b", null, m.target), h("code", null, m.args),
        h("span", { class: "took" }, m.took === null ? "" : `${m.took.toFixed(1)} ms`)))));
    replace(requests, state.requests.length === 0 ? h("p", { class: "empty" }, "None yet.")
      : h("div", { class: "scroll short" }, h("table", null, h("thead", null, h("tr", null, ["Time", "Request", "Status", "Node", "Took"].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", null, state.requests.map((r) => h("tr", null, h("td", null, clock(r.at)), h("td", null, r.kind), h("td", { class: "num" }, r.status),
          h("td", null, r.node || "…"), h("td", { class: "num" }, r.took ? `${Math.round(r.took)} ms` : "–")))))));
  }
  redraw = show;
  show();
  return () => { redraw = () => {}; };
}
