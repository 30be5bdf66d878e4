/** The page of a run: one file without scripts and without anything from outside, for light and dark screens. */
import type { LeaderChange } from "./driver/leadership.ts";
import type { FaultRecord } from "./operations.ts";
import { msBetween, type RunFigures, type TimedFault, timedFaults } from "./run-figures.ts";

export interface TimelineRequest {
  readonly name: string;
  readonly seed: number;
  readonly status: string;
  readonly reasons: readonly string[];
  readonly figures: RunFigures;
  readonly faults: readonly FaultRecord[];
  readonly leaders: readonly LeaderChange[];
}

const WIDTH = 1_100;
/** Room for the names of the rows. */
const LEFT = 150;
const RIGHT = 20;
const ROW = 24;
const BARS = 150;
const AXIS = 22;
const PANEL_GAP = 26;
/** The latency axis is logarithmic. ms. */
const LATENCY_MS = [1, 10, 100, 1_000, 10_000] as const;

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2024; --faint: #6a7178; --line: #d9dde1; --paper: #ffffff; --card: #f5f6f8;
  --ok: #3b82a0; --fail: #d9a441; --info: #b3475f; --gap: #b3475f22; --fault: #7a5ea8; --dull: #9aa1a8; --good: #2e7d4f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --faint: #9aa3ab; --line: #343a40; --paper: #15181b; --card: #1e2226;
  --ok: #5fa8c7; --fail: #e0b45c; --info: #e07a90; --gap: #e07a9030; --fault: #a58bd1; --dull: #6a7178; --good: #68b98a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 1140px; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; } h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
.status-valid { color: var(--good); } .status-invalid { color: var(--fail); } .status-failed { color: var(--info); }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; background: var(--card); padding: .7rem 1rem; border-radius: 8px; }
dt { color: var(--faint); font-size: .8rem; } dd { margin: 0; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; } text { fill: var(--faint); font-size: 12px; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .85rem; }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td code { word-break: break-word; font-size: .8rem; }
`;

export function renderTimeline(request: TimelineRequest): string {
  const { name, seed, status, reasons, figures, faults } = request;
  const facts: readonly (readonly [string, string])[] = [
    ["operations", String(figures.operations)],
    ["answered well", String(figures.ok)],
    ["refused", String(figures.fail)],
    ["unknown outcome", String(figures.ambiguous)],
    ["longest gap", `${figures.longestGapMs} ms`],
    ["faults", `${faults.filter(({ applied }) => applied).length} of ${faults.length} applied`],
    ["seed", String(seed)],
  ];
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(name)}</title><style>${STYLE}</style>
<h1>${escaped(name)} <span class="status-${escaped(status)}">${escaped(status)}</span></h1>
${reasons.length === 0 ? "" : `<ul>${reasons.map((reason) => `<li>${escaped(reason)}</li>`).join("")}</ul>`}
<dl>${facts.map(([term, value]) => `<div><dt>${term}</dt><dd>${escaped(value)}</dd></div>`).join("")}</dl>
${chart(request)}
${faultTable(faults, figures)}
</html>
`;
}

function chart({ figures, faults, leaders }: TimelineRequest): string {
  const endMs = Math.max(figures.durationMs, 1_000);
  const x = (ms: number): number => LEFT + (Math.min(Math.max(ms, 0), endMs) / endMs) * (WIDTH - LEFT - RIGHT);
  const parts: string[] = [];
  let y = 10;
  const add = (panel: { readonly svg: string; readonly height: number }): void => {
    parts.push(`<g transform="translate(0 ${y})">${panel.svg}</g>`);
    y += panel.height + PANEL_GAP;
  };
  add(faultRows(timedFaults(faults, figures), x));
  add(leaderRow(leaders, figures.startNs, endMs, x));
  add(rateBars(figures, x));
  add(latencyLines(figures, x));
  const shades = figures.gaps.map(
    ({ fromMs, toMs }) =>
      `<rect x="${px(x(fromMs))}" y="0" width="${px(x(toMs) - x(fromMs))}" height="${y}" fill="var(--gap)"><title>no acknowledged write for ${Math.round(toMs - fromMs)} ms</title></rect>`,
  );
  return `<h2>Time line</h2><svg viewBox="0 0 ${WIDTH} ${y + AXIS}" role="img" aria-label="faults, leaders, operations and latencies over time">${shades.join("")}${parts.join("")}<g transform="translate(0 ${y})">${timeAxis(endMs, x)}</g></svg>
<p><small>Shaded: a second or more without an acknowledged write. Bars: operations per second, by when they ended.</small></p>`;
}

type Scale = (ms: number) => number;
interface Panel {
  readonly svg: string;
  readonly height: number;
}

function faultRows(faults: readonly TimedFault[], x: Scale): Panel {
  const kinds = [...new Set(faults.map(({ record }) => record.kind))];
  const bars = faults.map(({ record, fromMs, toMs }) => {
    const top = kinds.indexOf(record.kind) * ROW;
    const color = record.applied ? "var(--fault)" : "var(--dull)";
    const title = `${record.kind} of ${record.target}, ${Math.round(toMs - fromMs)} ms${record.applied ? "" : ", not applied"}`;
    return `<rect x="${px(x(fromMs))}" y="${top + 3}" width="${px(Math.max(2, x(toMs) - x(fromMs)))}" height="${ROW - 8}" rx="3" fill="${color}"><title>${escaped(title)}</title></rect><text x="${px(x(fromMs) + 4)}" y="${top + 15}" style="fill: var(--paper)">${escaped(record.target)}</text>`;
  });
  return {
    svg: kinds.map((kind, index) => label(kind, index * ROW + 15)).join("") + bars.join(""),
    height: kinds.length * ROW,
  };
}

function leaderRow(leaders: readonly LeaderChange[], startNs: bigint, endMs: number, x: Scale): Panel {
  const spans = leaders.map(({ leader, term, atNs }, index) => {
    const next = leaders[index + 1];
    const fromMs = msBetween(startNs, atNs);
    const toMs = next === undefined ? endMs : msBetween(startNs, next.atNs);
    const width = x(toMs) - x(fromMs);
    if (width <= 0) return "";
    const shade = index % 2 === 0 ? "var(--ok)" : "var(--dull)";
    const name =
      width > 24 ? `<text x="${px(x(fromMs) + 4)}" y="14" style="fill: var(--paper)">${escaped(leader)}</text>` : "";
    return `<rect x="${px(x(fromMs))}" y="2" width="${px(width)}" height="${ROW - 8}" fill="${shade}"><title>${escaped(leader)} leads, term ${term}</title></rect>${name}`;
  });
  return { svg: label("leader", 15) + spans.join(""), height: ROW };
}

function rateBars({ seconds }: RunFigures, x: Scale): Panel {
  const most = Math.max(10, ...seconds.map(({ ok, fail, info }) => ok + fail + info));
  const tall = (count: number): number => (count / most) * BARS;
  const bars = seconds.map(({ ok, fail, info }, second) => {
    const left = x(second * 1_000);
    const width = Math.max(1, x((second + 1) * 1_000) - left - 1);
    let top = BARS;
    const stacked = [
      [ok, "var(--ok)"],
      [fail, "var(--fail)"],
      [info, "var(--info)"],
    ] as const;
    const rects = stacked.map(([count, color]) => {
      top -= tall(count);
      return count === 0
        ? ""
        : `<rect x="${px(left)}" y="${px(top)}" width="${px(width)}" height="${px(tall(count))}" fill="${color}"/>`;
    });
    return `<g><title>second ${second}: ${ok} ok, ${fail} refused, ${info} unknown</title>${rects.join("")}</g>`;
  });
  const key = ["ok", "fail", "info"].map(
    (name, index) =>
      `<rect x="0" y="${22 + index * 18}" width="10" height="10" fill="var(--${name})"/><text x="16" y="${31 + index * 18}">${["answered well", "refused", "unknown"][index]}</text>`,
  );
  return { svg: label(`operations/s, to ${most}`, 12) + key.join("") + bars.join("") + base(BARS), height: BARS };
}

function latencyLines({ seconds }: RunFigures, x: Scale): Panel {
  const [least, most] = [LATENCY_MS[0], LATENCY_MS[LATENCY_MS.length - 1] as number];
  const high = (ms: number): number =>
    BARS - (Math.log(Math.min(Math.max(ms, least), most) / least) / Math.log(most / least)) * BARS;
  const line = (of: (second: RunFigures["seconds"][number]) => number, color: string, name: string): string => {
    const marks = seconds.flatMap((second, index) =>
      second.ok === 0
        ? []
        : [
            `<circle cx="${px(x((index + 0.5) * 1_000))}" cy="${px(high(of(second)))}" r="2.5"><title>second ${index}: ${name} ${of(second).toFixed(1)} ms</title></circle>`,
          ],
    );
    return `<g fill="${color}">${marks.join("")}</g>`;
  };
  const grid = LATENCY_MS.map(
    (ms) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${px(high(ms))}" y2="${px(high(ms))}" stroke="var(--line)"/><text x="${LEFT - 6}" y="${px(high(ms) + 4)}" text-anchor="end">${ms} ms</text>`,
  );
  const key = `<rect x="0" y="22" width="10" height="10" fill="var(--ok)"/><text x="16" y="31">median</text><rect x="0" y="40" width="10" height="10" fill="var(--info)"/><text x="16" y="49">worst</text>`;
  const lines =
    line(({ medianMs }) => medianMs, "var(--ok)", "median") + line(({ worstMs }) => worstMs, "var(--info)", "worst");
  return { svg: label("latency", 12) + key + grid.join("") + lines, height: BARS };
}

function timeAxis(endMs: number, x: Scale): string {
  const step = Math.max(1, Math.ceil(endMs / 1_000 / 60)) * 5;
  const marks = Array.from({ length: Math.floor(endMs / 1_000 / step) + 1 }, (_, index) => index * step);
  return marks
    .map((second) => `<text x="${px(x(second * 1_000))}" y="4" text-anchor="middle">${second} s</text>`)
    .join("");
}

function faultTable(faults: readonly FaultRecord[], figures: RunFigures): string {
  const rows = timedFaults(faults, figures).map(({ record, fromMs, toMs, afterStartMs, afterEndMs }) => {
    const cells = [
      (fromMs / 1_000).toFixed(1),
      (toMs / 1_000).toFixed(1),
      record.kind,
      record.target,
      record.applied ? "yes" : "no",
      String(afterStartMs ?? "never"),
      String(afterEndMs ?? "never"),
    ];
    const texts = [record.params, record.evidence].map(
      (value) => `<td><code>${escaped(JSON.stringify(value))}</code></td>`,
    );
    return `<tr>${cells.map((cell) => `<td>${escaped(cell)}</td>`).join("")}${texts.join("")}</tr>`;
  });
  const written = ["written after it struck, ms", "after its end, ms"];
  const names = ["from, s", "to, s", "fault", "struck", "applied", ...written, "parameters", "evidence"];
  return `<h2>Faults</h2><div class="scroll"><table><tr>${names.map((name) => `<th>${name}</th>`).join("")}</tr>${rows.join("")}</table></div>
<p><small>Written: how long until the first write was acknowledged that was sent after that moment.</small></p>`;
}

const px = (value: number): string => value.toFixed(1);
const label = (text: string, y: number): string => `<text x="0" y="${y}">${escaped(text)}</text>`;
const base = (y: number): string =>
  `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}" stroke="var(--line)"/>`;

function escaped(text: string): string {
  const names: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (character) => names[character] ?? character);
}
