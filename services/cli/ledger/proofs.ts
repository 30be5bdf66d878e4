/** Checks proofs of the ledger against the digests that they carry. Needs neither a log nor a server. */
import type { LogEvent } from "../../../contracts/events.ts";
import type { Frame } from "../../../contracts/frame.ts";
import type { LedgerDigest, LedgerExtension, LedgerProof } from "../../../contracts/ledger.ts";
import { chainOf, decodeFrame } from "../../runtime/frame-codec.ts";
import { isBeginning, isIncluded } from "../../runtime/merkle.ts";
import { ledgerError } from "./problem.ts";

export interface ProvenEvent {
  readonly sequence: number;
  /** Log time. ms. */
  readonly at: number;
  readonly index: number;
  readonly chain: string;
  readonly event: LogEvent;
}

/** The event that a proof proves. Throws, definite: OperatingError `ledger_proof_invalid` with what does not belong together. */
export function checkProof({ sequence, index, payload, path, signed: { digest } }: LedgerProof): ProvenEvent {
  const bytes = Buffer.from(payload);
  const decoded = decodeFrame(bytes);
  if (decoded.kind === "void") throw invalid(`its payload is no frame (${decoded.reason})`);
  const { frame } = decoded;
  const event = frame.events[sequence - frame.first];
  const last = frame.first + frame.count - 1;
  if (event === undefined) throw invalid(`its frame holds the events ${frame.first} to ${last}, and not ${sequence}`);
  const chain = chainOf(bytes);
  const problem = placeProblem(frame, chain, index, digest);
  if (problem !== undefined) throw invalid(problem);
  if (isIncluded(bytes, { index, size: digest.frames, path, root: digest.root }))
    return { sequence, at: frame.at, index, chain, event };
  throw invalid("the path does not lead from the frame to the root: frame, index, path or root was changed");
}

/** Why a frame cannot stand where it is said to. */
function placeProblem(frame: Frame, chain: string, index: number, digest: LedgerDigest): string | undefined {
  const { region, shard, logId, frames, firstSequence, lastSequence, chainBefore, chainAfter } = digest;
  for (const [name, value] of Object.entries({ region, shard, logId }))
    if (frame[name as "region"] !== value)
      return `its frame is of ${name} ${frame[name as "region"]}, its digest of ${value}`;
  if (index >= frames) return `its frame has index ${index}, its digest is of ${frames} frames`;
  if (frame.first < firstSequence || frame.first + frame.count - 1 > lastSequence)
    return `its frame is outside of the range of its digest, sequence ${firstSequence} to ${lastSequence}`;
  if (index === 0 && (frame.prev !== chainBefore || frame.first !== firstSequence))
    return "its frame is the first one, and does not begin where its digest does";
  if (index === frames - 1 && (chain !== chainAfter || frame.first + frame.count - 1 !== lastSequence))
    return "its frame is the last one, and does not end where its digest does";
  return undefined;
}

/** Throws, definite: OperatingError `ledger_proof_invalid`. */
export function checkExtension({ older: { digest: older }, newer: { digest: newer }, path }: LedgerExtension): void {
  for (const name of ["region", "shard", "logId", "firstSequence", "chainBefore"] as const)
    if (older[name] !== newer[name])
      throw invalid(
        `${name} of the older digest is ${JSON.stringify(older[name])}, of the newer ${JSON.stringify(newer[name])}`,
      );
  const beginning = { olderSize: older.frames, olderRoot: older.root, size: newer.frames, root: newer.root, path };
  if (older.lastSequence <= newer.lastSequence && older.at <= newer.at && isBeginning(beginning)) return;
  throw invalid(
    "the frames of the older digest are not the beginning of those of the newer: one of the two was changed",
  );
}

const invalid = (what: string) => ledgerError("ledger_proof_invalid", `the proof proves nothing: ${what}`);
