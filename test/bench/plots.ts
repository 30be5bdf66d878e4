/** Draws raw results as SVG: bars for rates, lines for what changes with load and depth. Plain text, the same for the same results. */
import { isShort, type Merged, tableOf } from "./merge.ts";
import { DURABILITIES } from "./peers/peer.ts";
import { areOfOneRun, figure, middleOf } from "./report-tables.ts";
import type { Row } from "./results.ts";

const WIDTH = 760;
const LEFT = 190;
const RIGHT = 110;
const ROW = 24;
const OURS = "#1f6feb";
const THEIRS = "#8b949e";
const COLOURS = ["#1f6feb", "#54aeff", "#0a3069", "#cf222e", "#bf8700", "#1a7f37", "#8250df", "#8b949e", "#bf3989"];

/** File name to SVG; only plots that there are rows for, of the fullest table of each scenario and class. */
export function plotsOf(merged: Merged): ReadonlyMap<string, string> {
  const plots = new Map<string, string>();
  for (const durability of DURABILITIES) {
    const draw = (
      scenario: string,
      title: string,
      plot: (title: string, rows: readonly Row[]) => string,
      of = "",
    ): void => {
      const rows = tableOf(merged, scenario, durability)?.rows.filter((row) => row.case.includes(of)) ?? [];
      const runs = areOfOneRun(rows) ? "" : ", rows of several runs";
      if (rows.length > 0) plots.set(`${scenario.toLowerCase()}-${durability}.svg`, plot(`${title}${runs}`, rows));
    };
    draw("S5", `Life of an item, ${durability}: items/s`, bars);
    draw("S6", `Enqueue to start, ${durability}: p99 in ms by load`, (...args) => lines(...args, percentOf), "%");
    draw("S9", `Life of an item, ${durability}: items/s by depth`, (...args) => lines(...args, depthOf), "depth");
  }
  return plots;
}

const percentOf = ({ case: each }: Row): number => Number.parseInt(each, 10);
const depthOf = ({ case: each }: Row): number => Math.log10(Number(each.replace("depth ", "")));

function bars(title: string, rows: readonly Row[]): string {
  const sorted = rows.toSorted((one, other) => middleOf(other) - middleOf(one));
  const top = Math.max(...sorted.map(middleOf));
  const scale = (WIDTH - LEFT - RIGHT) / top;
  const marks = sorted.map((row, index) => {
    const y = 40 + index * ROW;
    const colour = row.peer.startsWith("omnirelay") ? OURS : THEIRS;
    return [
      text(LEFT - 8, y + 14, row.peer, "end"),
      `<rect x="${LEFT}" y="${y}" width="${round(middleOf(row) * scale)}" height="${ROW - 6}" fill="${colour}"/>`,
      text(LEFT + round(middleOf(row) * scale) + 6, y + 14, `${figure(middleOf(row))}${fewRounds([row])}`),
    ].join("\n");
  });
  return svg(title, 50 + sorted.length * ROW, marks);
}

const PLOT_HEIGHT = 300;

/** One line per peer; both axes as the values are, the upright one by powers of ten. */
function lines(title: string, rows: readonly Row[], across: (row: Row) => number): string {
  const peers = [...new Set(rows.map(({ peer }) => peer))];
  const [xs, ys] = [rows.map(across), rows.map((row) => Math.log10(Math.max(middleOf(row), 0.01)))];
  const [xMin, xMax] = [Math.min(...xs), Math.max(...xs)];
  const [yMin, yMax] = [Math.floor(Math.min(...ys)), Math.ceil(Math.max(...ys))];
  const x = (value: number): number => round(60 + ((value - xMin) / Math.max(xMax - xMin, 1e-9)) * (WIDTH - 60 - LEFT));
  const y = (value: number): number => round(40 + (1 - (value - yMin) / Math.max(yMax - yMin, 1e-9)) * PLOT_HEIGHT);
  const marks: string[] = [];
  for (let power = yMin; power <= yMax; power += 1) {
    marks.push(`<path d="M60 ${y(power)}H${WIDTH - LEFT}" stroke="#d0d7de"/>`);
    marks.push(text(54, y(power) + 4, figure(10 ** power), "end"));
  }
  for (const row of rows) marks.push(text(x(across(row)), 60 + PLOT_HEIGHT, row.case.replace("depth ", ""), "middle"));
  for (const [index, peer] of peers.entries()) {
    const colour = COLOURS[index % COLOURS.length] ?? OURS;
    const own = rows.filter((row) => row.peer === peer).toSorted((one, other) => across(one) - across(other));
    const points = own.map((row) => `${x(across(row))},${y(Math.log10(Math.max(middleOf(row), 0.01)))}`);
    marks.push(`<polyline points="${points.join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    marks.push(text(WIDTH - LEFT + 30, 50 + index * 18, `${peer}${fewRounds(own)}`));
    marks.push(`<rect x="${WIDTH - LEFT + 14}" y="${41 + index * 18}" width="10" height="10" fill="${colour}"/>`);
  }
  return svg(title, PLOT_HEIGHT + 80, [...new Set(marks)]);
}

function svg(title: string, height: number, marks: readonly string[]): string {
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`;
  const back = `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`;
  return `${[open, `<title>${title}</title>`, back, text(10, 22, title), ...marks, "</svg>"].join("\n")}\n`;
}

const fewRounds = (rows: readonly Row[]): string => (rows.some(isShort) ? " (few rounds)" : "");
const text = (x: number, y: number, words: string, anchor = "start"): string =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="#24292f">${words}</text>`;
const round = (value: number): number => Math.round(value * 10) / 10;
