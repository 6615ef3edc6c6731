const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

// count is 950, 1.2K, 3.4M.
export function count(n: number): string {
  return Math.abs(n) < 1000 ? String(Math.round(n * 10) / 10) : compact.format(n);
}

export function duration(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function bytes(n: number): string {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]] as const) {
    if (n >= size) return `${(n / size).toFixed(n >= 10 * size ? 0 : 1)} ${unit}`;
  }
  return `${n} B`;
}

export function clock(at: Date): string {
  return at.toLocaleTimeString("en-GB") + "." + String(at.getMilliseconds()).padStart(3, "0");
}

export const transportNames: Record<string, string> = {
  WebSockets: "WebSockets", ServerSentEvents: "Server-Sent Events", LongPolling: "Long polling", EventStream: "Plain event streams",
};
