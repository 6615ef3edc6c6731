import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { h } from "./dom";

export interface Series { label: string; values: (number | null)[] }

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const height = 168; // px

// Chart is lines over the last minutes; its lines may come and go.
export class Chart {
  readonly el: HTMLElement;
  private readonly plot: HTMLElement;
  private readonly legend: HTMLElement;
  private chart: uPlot | null = null;
  private shape = "";

  constructor(title: string, note: string, private readonly unit: (n: number) => string, extra?: HTMLElement) {
    this.plot = h("div", { class: "plot" });
    this.legend = h("ul", { class: "legend" });
    this.el = h("section", { class: "card chart", "aria-label": title },
      h("header", null, h("div", null, h("h3", null, title), h("p", null, note)), extra), this.plot, this.legend);
  }

  set(at: number[], series: Series[]): void {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const shape = [document.documentElement.dataset["theme"] ?? "auto", dark, ...series.map((s) => s.label)].join("|");
    const width = Math.max(this.plot.clientWidth, 120);
    const data = [at, ...series.map((s) => s.values)] as uPlot.AlignedData;
    if (!this.chart || shape !== this.shape) {
      this.chart?.destroy();
      this.shape = shape;
      this.chart = new uPlot(this.options(series, width), data, this.plot);
    } else {
      if (this.chart.width !== width) this.chart.setSize({ width, height });
      this.chart.setData(data);
    }
    this.legend.replaceChildren(...(series.length === 0 ? [h("li", null, "none")] : []), ...series.map((s, i) => {
      const value = s.values[s.values.length - 1];
      return h("li", null, h("i", { class: `key s${(i % 6) + 1}` }), s.label, h("b", null, value === null || value === undefined ? "–" : this.unit(value)));
    }));
  }

  private options(series: Series[], width: number): uPlot.Options {
    const quiet = css("--quiet");
    const axis = { stroke: quiet, grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    return {
      width, height, legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      padding: [8, 4, 0, 0],
      scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(max * 1.15, 1)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 26, space: 70, values: (_, splits) => splits.map((s) => new Date(s * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })) },
        { ...axis, size: 46, space: 34, values: (_, splits) => splits.map((n) => this.unit(n)) },
      ],
      series: [{}, ...series.map((s, i) => {
        const color = css(`--s${(i % 6) + 1}`);
        return { label: s.label, stroke: color, width: 2, points: { show: false }, spanGaps: false, fill: series.length === 1 ? color + "22" : undefined } as uPlot.Series;
      })],
    };
  }

  destroy(): void { this.chart?.destroy(); }
}
