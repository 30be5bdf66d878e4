/** Log truth: what the log is, read strictly from the dumps of its replicas, and whether they agree on it. */
import type { Actor, LogEvent } from "../../contracts/events.ts";
import { actorOf, type Frame } from "../../contracts/frame.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { CHAIN_HEADER, EXPECTED_SEQUENCE_HEADER } from "../../contracts/subjects.ts";
import { type HaltCode, LogReader } from "../../services/core/log-reader.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import type { LogRecord, RunPlan } from "../operations.ts";
import type { Invariant, Tally } from "./tally.ts";

export interface LoggedEvent<E extends LogEvent = LogEvent> {
  readonly event: E;
  readonly sequence: number;
  readonly term: number;
  /** Undefined for what the leader wrote by itself. */
  readonly actor: Actor | undefined;
  /** Of a grant: its token. */
  readonly token: number;
  readonly streamSequence: number;
}

/** Messages of the longest dump that a replica lacks: before its first, between its messages, behind its last. */
interface Missing {
  prefix: number;
  middle: number;
  postfix: number;
}

export interface LogTruth {
  readonly frames: readonly Frame[];
  /** The event of sequence k at place k - 1. */
  readonly events: readonly LoggedEvent[];
  readonly voids: number;
  readonly missing: Readonly<Record<string, Missing>>;
  /** Whether a message of the longest dump is in most dumps. */
  readonly isOnMajority: (streamSequence: number) => boolean;
}

/** Which promise a log breaks that cannot be read on. */
const HALTS: Readonly<Record<HaltCode, Invariant>> = {
  log_fork: "L4",
  log_gap: "L1",
  log_wrong_first: "L1",
  log_term_decreased: "L6",
  log_time_decreased: "L4",
  log_frame_invalid: "L4",
  log_version_unknown: "L4",
  log_identity: "L9",
  log_missing: "L9",
  log_tail_lost: "L3",
  state_diverged: "S1",
  peer_id_taken: "L6",
};

type Dumps = Readonly<Record<string, readonly LogRecord[]>>;

export function readLogTruth(dumps: Dumps, plan: RunPlan, tally: Tally): LogTruth {
  const count = Object.keys(dumps).length;
  tally.check("run.wholeLog", count === plan.replicas, () => `${count} dumps of ${plan.replicas} replicas`);
  const longest = Object.values(dumps).reduce<readonly LogRecord[]>(
    (best, dump) => (dump.length > best.length ? dump : best),
    [],
  );
  const first = longest[0]?.streamSequence;
  tally.check("run.wholeLog", first === 1, () => `the longest dump begins at stream sequence ${first}`);
  const missing = compareDumps(dumps, longest, tally);
  const holders = new Map<number, number>();
  for (const dump of Object.values(dumps))
    for (const { streamSequence } of dump) holders.set(streamSequence, (holders.get(streamSequence) ?? 0) + 1);
  const isOnMajority = (streamSequence: number) => (holders.get(streamSequence) ?? 0) * 2 > plan.replicas;
  return { ...readChain(longest, plan, tally), missing, isOnMajority };
}

function compareDumps(dumps: Dumps, longest: readonly LogRecord[], tally: Tally): Record<string, Missing> {
  const contents = new Map(longest.map((record) => [record.streamSequence, contentOf(record)]));
  return Object.fromEntries(
    Object.entries(dumps).map(([replica, dump]) => {
      const at = new Set(dump.map(({ streamSequence }) => streamSequence));
      const first = dump[0]?.streamSequence ?? Number.POSITIVE_INFINITY;
      const last = dump.at(-1)?.streamSequence ?? 0;
      const missing: Missing = { prefix: 0, middle: 0, postfix: 0 };
      for (const sequence of contents.keys()) {
        if (at.has(sequence)) continue;
        if (sequence > last) missing.postfix += 1;
        else if (sequence < first) missing.prefix += 1;
        else missing.middle += 1;
      }
      let next = first;
      for (const record of dump) {
        const { streamSequence } = record;
        const where = `${replica}: stream sequence ${streamSequence}`;
        tally.check("L1", streamSequence === next, () => `${where} where ${next} should be`);
        next = streamSequence + 1;
        const isEqual = contents.get(streamSequence) === contentOf(record);
        tally.check("L2", isEqual, () => `${where} holds other bytes than the longest dump`);
      }
      const { postfix } = missing;
      tally.check("L2", postfix === 0, () => `${replica}: the last ${postfix} messages are missing`);
      tally.check("L1", missing.prefix === 0, () => `${replica}: the first ${missing.prefix} messages are missing`);
      return [replica, missing];
    }),
  );
}

const contentOf = ({ subject, headers, payload }: LogRecord): string =>
  JSON.stringify([subject, Object.entries(headers).sort(([left], [right]) => (left < right ? -1 : 1)), payload]);

const encoder = new TextEncoder();

function readChain(dump: readonly LogRecord[], { region, shard }: RunPlan, tally: Tally) {
  const reader = new LogReader({ region, shard, logId: "", hashOf: chainOf, strict: true });
  const frames: Frame[] = [];
  const events: LoggedEvent[] = [];
  const appends = new Set<string>();
  let voids = 0;
  let tokenEpoch = 0;
  for (const { streamSequence, subject, headers, payload } of dump) {
    const chainHeader = headers[CHAIN_HEADER] ?? "";
    const message = { streamSequence, subject, payload: encoder.encode(payload), chainHeader, pending: 0 };
    const verdict = reader.classify(message);
    if (verdict.kind === "halt") {
      tally.violated(HALTS[verdict.code], `stream sequence ${streamSequence}: ${verdict.code}: ${verdict.message}`);
      break;
    }
    if (verdict.kind === "void") {
      voids += 1;
      continue;
    }
    const { frame, chain } = verdict;
    for (const name of ["L4", "L9"] as const) tally.checked(name);
    checkFrame(frame, streamSequence, headers, appends, tally);
    for (const [index, event] of frame.events.entries()) {
      if (event.type === "logCreated" || event.type === "termStarted") tokenEpoch = event.tokenEpoch;
      const sequence = frame.first + index;
      const actor = actorOf(event, frame);
      const token = tokenOf(tokenEpoch, sequence);
      events.push({ event, sequence, term: frame.term, actor, token, streamSequence });
    }
    reader.advance(frame, chain);
    frames.push(frame);
  }
  return { frames, events, voids };
}

function checkFrame(
  frame: Frame,
  streamSequence: number,
  headers: LogRecord["headers"],
  appends: Set<string>,
  tally: Tally,
): void {
  const where = `stream sequence ${streamSequence}`;
  const expected = headers[EXPECTED_SEQUENCE_HEADER];
  tally.check("L5", expected === String(streamSequence - 1), () => `${where} was appended expecting ${expected}`);
  const isNew = !appends.has(frame.append);
  tally.check("L5", isNew, () => `${where}: append ${frame.append} is there twice`);
  appends.add(frame.append);
}
