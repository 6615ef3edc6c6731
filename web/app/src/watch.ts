import { Chart, type Series } from "./charts";
import { h, replace } from "./dom";
import { onChange, points, problem, rows, type NodeRow, type Point } from "./feed";
import { bytes, count, duration, transportNames } from "./format";

// ms is 0.5 ms, 12 ms, 1.5 s: an axis that ends at 1 ms has halves.
const ms = (n: number) => (n >= 1000 ? `${n / 1000} s` : `${n < 10 ? Math.round(n * 10) / 10 : Math.round(n)} ms`);

function lines(of: (p: Point) => Record<string, number>, name: (key: string) => string, only: (total: number) => boolean): Series[] {
  const totals = new Map<string, number>();
  for (const p of points) for (const [key, n] of Object.entries(of(p))) totals.set(key, (totals.get(key) ?? 0) + n);
  return [...totals].filter(([, total]) => only(total)).map(([key]) => key).sort()
    .map((key) => ({ label: name(key), values: points.map((p) => of(p)[key] ?? null) }));
}

function stat(label: string, value: string, note: string): HTMLElement {
  return h("div", { class: "stat" }, h("span", null, label), h("strong", null, value), h("small", null, note));
}

function nodeState(row: NodeRow): [text: string, kind: string] {
  if (row.gone) return ["gone", "bad"];
  switch (row.report.state) {
    case "ready": return ["ready", "good"];
    case "stopped": return ["stopped", "off"];
    default: return [row.report.state, "warn"];
  }
}

function nodeTable(): HTMLElement {
  if (rows.length === 0) return h("p", { class: "empty" }, "No node has reported yet.");
  return h("div", { class: "scroll" }, h("table", { class: "nodes" },
    h("thead", null, h("tr", null, ["Node", "State", "Uptime", "Version", "Connections", "Hubs", "Heap", "Last heard"].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", null, rows.map((row) => {
      const [text, kind] = nodeState(row);
      const connections = Object.values(row.report.connections).reduce((a, b) => a + b, 0);
      const dead = row.gone || row.report.state === "stopped";
      return h("tr", { class: dead ? "dead" : "", "data-node": row.name },
        h("th", { scope: "row" }, row.name), h("td", null, h("span", { class: `pill ${kind}` }, text)),
        h("td", null, duration(row.report.uptime)), h("td", null, h("code", null, row.report.version)),
        h("td", { class: "num" }, dead ? "–" : count(connections)), h("td", { class: "num" }, dead ? "–" : count(row.report.hubs)),
        h("td", { class: "num" }, dead ? "–" : bytes(row.report.memory)), h("td", null, row.age < 3000 ? "now" : `${duration(row.age)} ago`));
    }))));
}

export function watch(root: HTMLElement): () => void {
  const by = h("div", { class: "segments", role: "group", "aria-label": "Connections by" });
  let byNode = false;
  const buttons = ["Transport", "Node"].map((text, i) => h("button", {
    type: "button", onclick: () => { byNode = i === 1; draw(); },
  }, text));
  by.append(...buttons);

  const charts = {
    connections: new Chart("Connections", "attached to all nodes now", count, by),
    flow: new Chart("Sends and deliveries", "per second", count),
    delay: new Chart("Publish to write", "age of a message when it is written", ms),
    lag: new Chart("Lag", "the oldest message that waited, or was written late", ms),
    errors: new Chart("Errors", "per second, by reason", count),
  };
  const stats = h("div", { class: "stats" });
  const nodes = h("div");
  const alert = h("p", { class: "notice bad", role: "alert", hidden: true });
  replace(root, h("h1", null, "Watch"), alert, stats, h("div", { class: "charts" }, Object.values(charts).map((c) => c.el)),
    h("section", { class: "card" }, h("header", null, h("h3", null, "Nodes")), nodes));

  function draw(): void {
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(byNode === (i === 1))));
    alert.hidden = !problem;
    alert.textContent = problem;
    const at = points.map((p) => p.at);
    charts.connections.set(at, byNode ? lines((p) => p.nodes, (k) => k, () => true)
      : lines((p) => p.transports, (k) => transportNames[k] ?? k, (total) => total > 0));
    charts.flow.set(at, [{ label: "Deliveries", values: points.map((p) => p.deliveries) }, { label: "Sends", values: points.map((p) => p.sends) }]);
    charts.delay.set(at, [{ label: "99 % within", values: points.map((p) => p.p99) }, { label: "half within", values: points.map((p) => p.p50) }]);
    charts.lag.set(at, [{ label: "Lag", values: points.map((p) => p.lag) }]);
    charts.errors.set(at, lines((p) => p.errors, (k) => k.replaceAll("_", " "), (total) => total > 0));
    const now = points[points.length - 1];
    if (now) {
      const alive = rows.filter((r) => !r.gone && r.report.state !== "stopped").length;
      replace(stats, stat("Connections", count(Object.values(now.transports).reduce((a, b) => a + b, 0)), "on all nodes"),
        stat("Sends", `${count(now.sends)}/s`, "accepted"), stat("Deliveries", `${count(now.deliveries)}/s`, "written to clients"),
        stat("Publish to write", now.p99 === null ? "–" : `≤ ${ms(now.p99)}`, "99 % of writes"),
        stat("Nodes", `${alive} of ${rows.length}`, alive === rows.length ? "all alive" : "see below"));
    }
    replace(nodes, nodeTable());
  }
  draw();
  const stop = onChange(draw);
  addEventListener("resize", draw);
  addEventListener("themechange", draw);
  return () => {
    stop();
    removeEventListener("resize", draw);
    removeEventListener("themechange", draw);
    for (const c of Object.values(charts)) c.destroy();
  };
}
