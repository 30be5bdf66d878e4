/** The report of `ledger verify` as lines for people. */
import type { LedgerDigest } from "../../../contracts/ledger.ts";
import { aligned, safeText, timeText } from "../terminal.ts";
import type { LedgerReport } from "./verify.ts";

type Row = readonly string[];

export function reportLines(report: LedgerReport): readonly string[] {
  return aligned([
    [
      "ledger",
      `${report.digest === undefined ? "" : `${logText(report.digest)}: `}${report.ok ? "whole" : "NOT WHOLE"}`,
    ],
    ...foundRows(report),
    ...(report.digest === undefined ? [] : digestRows(report.digest)),
    ...(report.older === undefined ? [] : olderRows(report.older)),
    ...(report.event === undefined ? [] : eventRows(report)),
    ...(report.ok ? [["signature", signatureText(report)]] : []),
    ...(report.agrees === true ? [["digest", "agrees with the one that was given"]] : []),
  ]);
}

export const logText = ({ logId, region, shard }: LedgerDigest): string => `${logId} of ${region}/${shard}`;

/** What was read; of a proof nothing but the one frame is. */
function foundRows({ source, ok, frames, emptyFrames, events, voids }: LedgerReport): readonly Row[] {
  if (source === "proof" || source === "extension") return [];
  const good = ok ? "" : " found good, from the beginning of the range on";
  return [
    ["frames", `${frames} (${emptyFrames} empty), ${voids.count} void messages${good}`],
    ["events", `${events}${good}`],
    ...voids.first.map((text) => ["void message", safeText(text)]),
  ];
}

export function digestRows(digest: LedgerDigest): readonly Row[] {
  const { firstSequence, lastSequence, frames, at, chainBefore, chainAfter, root } = digest;
  const isWhole = chainBefore === "";
  return [
    ["range", `${frames} frames, sequence ${firstSequence} to ${lastSequence}, until ${timeText(at)}`],
    ["chain before", isWhole ? "none: the range begins with the log" : chainBefore],
    ["chain after", chainAfter],
    ["root", root],
    ...(isWhole ? [] : [["not proven", "what stood before the range: its first frame is taken at its word"]]),
  ];
}

const olderRows = ({ frames, lastSequence, root }: LedgerDigest): readonly Row[] => [
  ["continues", `${frames} frames, to sequence ${lastSequence}, with the root ${root}: nothing in them was rewritten`],
];

function eventRows({ event }: LedgerReport): readonly Row[] {
  if (event === undefined) return [];
  const { sequence, at, index, chain } = event;
  return [
    ["event", `sequence ${sequence}, ${timeText(at)}, in frame ${index} of the range`],
    ["frame", chain],
    ["says", safeText(JSON.stringify(event.event))],
  ];
}

function signatureText({ signature, keyId = "" }: LedgerReport): string {
  if (signature === "none") return "none: whoever wrote the digest could have written another one";
  if (signature === "valid") return `valid, of the key ${keyId}`;
  return `by the key ${keyId}, not checked: give --key`;
}
