import * as feed from "./feed";
import { h, replace } from "./dom";
import { connection } from "./connection";
import { hubs } from "./hubs";
import { lookBack } from "./lookback";
import { load, setKey, type Session } from "./session";
import { tryIt } from "./try";
import { watch } from "./watch";

type Page = (root: HTMLElement, session: Session, rest: string[]) => () => void;

const pages: Record<string, { title: string; show: Page }> = {
  watch: { title: "Watch", show: watch },
  try: { title: "Try", show: tryIt },
  hubs: { title: "Hubs", show: hubs },
  log: { title: "Look back", show: lookBack },
  connection: { title: "Connection", show: connection }, // reached by links
};

// theme is auto, light or dark; it is kept, and charts draw themselves anew.
function setTheme(theme: string): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  localStorage.setItem("hubstream.theme", theme);
  dispatchEvent(new Event("themechange"));
}

function themeButton(): HTMLButtonElement {
  const next: Record<string, string> = { auto: "light", light: "dark", dark: "auto" };
  let theme = localStorage.getItem("hubstream.theme") ?? "auto";
  const label = () => `Theme: ${theme}`;
  const button = h("button", { type: "button", class: "theme", onclick: () => {
    theme = next[theme] ?? "auto";
    setTheme(theme);
    button.textContent = label();
  } }, label());
  setTheme(theme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
  return button;
}

function askForKey(app: HTMLElement, refused: boolean): void {
  const key = h("input", { type: "password", name: "key", required: true, autocomplete: "off", autofocus: true });
  replace(app, h("main", { id: "main", class: "gate" }, h("form", { class: "card", onsubmit: (e: Event) => {
    e.preventDefault();
    setKey(key.value.trim());
    void start(true);
  } }, h("h1", null, "Hubstream"), h("p", null, "The console needs an admin key. It is kept in this tab only."),
  refused && h("p", { class: "notice bad", role: "alert" }, "This key is not an admin key of the node."),
  h("label", { class: "field" }, h("span", null, "Admin key"), key), h("button", { type: "submit", class: "primary" }, "Open"))));
  key.focus();
}

// decoded is a part of an address as it was meant; one that is not encoded as it must be is taken as it is.
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function shell(app: HTMLElement, session: Session): void {
  const main = h("main", { id: "main", tabIndex: -1 });
  const links = Object.entries(pages).filter(([name]) => name !== "connection").map(([name, page]) => h("a", { href: `#/${name}` }, page.title));
  const live = h("span", { class: "pill off" });
  replace(app, h("header", { class: "top" }, h("a", { class: "brand", href: "#/watch" }, h("span", { class: "mark", "aria-hidden": "true" }), "Hubstream"),
    h("nav", { "aria-label": "Pages" }, links), h("div", { class: "side" }, h("span", { class: "from", title: "the node that served this page" }, session.node), live, themeButton())), main);

  feed.onChange(() => {
    live.className = feed.connected && !feed.problem ? "pill good" : "pill bad";
    live.textContent = feed.connected && !feed.problem ? "live" : "not live";
  });

  let leave = () => {};
  function route(): void {
    const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
    const page = pages[name] ? name : "watch";
    leave();
    scrollTo(0, 0); // another page begins at its top, as a load would
    leave = pages[page]!.show(main, session, rest);
    links.forEach((link) => {
      if (link.hash === `#/${page}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    document.title = `${pages[page]!.title} · Hubstream`;
  }
  addEventListener("hashchange", route);
  route();
  void feed.run();
}

async function start(tried: boolean): Promise<void> {
  const app = document.getElementById("app")!;
  try {
    const session = await load();
    if (session.allowed) shell(app, session);
    else askForKey(app, tried);
  } catch (error) {
    replace(app, h("main", { id: "main", class: "gate" }, h("div", { class: "card" }, h("h1", null, "Hubstream"), h("p", null, `The node does not answer: ${(error as Error).message}`),
      h("button", { type: "button", class: "primary", onclick: () => void start(tried) }, "Try again"))));
  }
}

// Its address would be taken for a page's: routes are in the hash.
document.querySelector(".skip")!.addEventListener("click", (e) => {
  e.preventDefault();
  document.getElementById("main")?.focus();
});

void start(sessionStorage.getItem("hubstream.key") !== null);
