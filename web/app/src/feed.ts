// The live feed: one event stream with the state of all nodes. It is read with fetch, since an EventSource cannot send a key.
import { headers } from "./session";

export interface Report {
  node: string; version: string; state: string; uptime: number;
  connections: Record<string, number>; hubs: number; sends: number; deliveries: number;
  delays: number[]; delayBounds: number[]; lag: number; errors: Record<string, number>; memory: number; goroutines: number;
}
export interface NodeRow { name: string; age: number; gone: boolean; report: Report }
interface Snapshot { at: number; error?: string; nodes: NodeRow[] }

// Point is the cluster at a time.
export interface Point {
  at: number; // s
  transports: Record<string, number>; nodes: Record<string, number>;
  sends: number; deliveries: number; // per second
  p50: number | null; p99: number | null; lag: number; // ms
  errors: Record<string, number>; // per second
}

interface Rates { report: Report; sends: number; deliveries: number; delays: number[]; lag: number; errors: Record<string, number> }

const keep = 150;
export const points: Point[] = [];
export let rows: NodeRow[] = [];
export let problem = "";
export let connected = false;
let last = 0;
const rates = new Map<string, Rates>();
const listeners = new Set<() => void>();

export function onChange(f: () => void): () => void {
  listeners.add(f);
  return () => listeners.delete(f);
}

const minus = (now: number, before: number) => Math.max(0, now - before);

// rate is what a node did in a second, between its last two reports.
function rate(now: Report): Rates {
  const before = rates.get(now.node);
  if (before && before.report.uptime === now.uptime) return before; // told nothing new
  const r: Rates = { report: now, sends: 0, deliveries: 0, delays: [], lag: now.lag, errors: {} };
  if (before && before.report.uptime < now.uptime) {
    const s = (now.uptime - before.report.uptime) / 1000;
    r.sends = minus(now.sends, before.report.sends) / s;
    r.deliveries = minus(now.deliveries, before.report.deliveries) / s;
    r.delays = now.delays.map((n, i) => minus(n, before.report.delays[i] ?? 0));
    for (const [reason, n] of Object.entries(now.errors)) r.errors[reason] = minus(n, before.report.errors[reason] ?? 0) / s;
  }
  rates.set(now.node, r);
  return r;
}

function percentile(delays: number[], bounds: number[], p: number): number | null {
  const all = delays.reduce((a, b) => a + b, 0);
  if (all === 0) return null;
  let seen = 0;
  for (let i = 0; i < delays.length; i++) {
    seen += delays[i]!;
    if (seen >= p * all) return bounds[i] ?? bounds[bounds.length - 1]!;
  }
  return null;
}

function take(s: Snapshot): void {
  if (s.at <= last) return;
  last = s.at;
  problem = s.error ?? "";
  rows = s.nodes;
  const point: Point = { at: s.at / 1000, transports: {}, nodes: {}, sends: 0, deliveries: 0, p50: null, p99: null, lag: 0, errors: {} };
  const delays: number[] = [];
  let bounds: number[] = [];
  for (const row of rows) {
    if (row.gone || row.report.state === "stopped") {
      rates.delete(row.name);
      continue;
    }
    const r = rate(row.report);
    let here = 0;
    for (const [transport, n] of Object.entries(row.report.connections)) {
      point.transports[transport] = (point.transports[transport] ?? 0) + n;
      here += n;
    }
    point.nodes[row.name] = here;
    point.sends += r.sends;
    point.deliveries += r.deliveries;
    point.lag = Math.max(point.lag, r.lag);
    bounds = row.report.delayBounds;
    r.delays.forEach((n, i) => { delays[i] = (delays[i] ?? 0) + n; });
    for (const [reason, n] of Object.entries(r.errors)) point.errors[reason] = (point.errors[reason] ?? 0) + n;
  }
  point.p50 = percentile(delays, bounds, 0.5);
  point.p99 = percentile(delays, bounds, 0.99);
  points.push(point);
  if (points.length > keep) points.shift();
}

function changed(): void {
  for (const f of listeners) f();
}

async function follow(): Promise<void> {
  const history = await fetch("console/history", { headers: headers(), cache: "no-store" });
  if (!history.ok) throw new Error(await history.text());
  for (const s of (await history.json()) as Snapshot[]) take(s);
  changed();
  const answer = await fetch("console/feed", { headers: { ...headers(), Accept: "text/event-stream" }, cache: "no-store" });
  if (!answer.ok || !answer.body) throw new Error(await answer.text());
  connected = true;
  changed();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop()!;
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) take(JSON.parse(data) as Snapshot);
    }
    changed();
  }
}

// run follows the feed for as long as the page is open.
export async function run(): Promise<never> {
  for (;;) {
    try {
      await follow();
      problem = "the feed has ended; connecting again";
    } catch (error) {
      problem = `the node does not answer: ${error instanceof Error ? error.message : String(error)}`;
    }
    connected = false;
    changed();
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }
}
