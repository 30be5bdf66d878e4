/** Finds out what happened where a frame does not continue the chain: changed, removed, inserted or reordered. Reads the ledger once more. */
import type { OperatingError } from "../../../contracts/errors.ts";
import type { LogMessage } from "../../../contracts/ports.ts";
import { chainOf } from "../../runtime/frame-codec.ts";
import type { ChainBreak } from "./chain.ts";
import { ledgerProblem, type PlaceUnit } from "./problem.ts";

/** Frames that are followed back. Each takes a reading. */
const STEPS_MAX = 100;

/** Of a message only what chains it to others. */
interface Link {
  readonly at: number;
  /** Hash of the payload. */
  readonly chain: string;
  /** What stands beside the payload as its hash. */
  readonly header: string;
  readonly prev: unknown;
  readonly first: unknown;
}

interface Sights {
  /** The frame that does not continue. */
  readonly broken: Link;
  /** What it continues, where that is in the ledger. */
  readonly parent: Link | undefined;
  /** A message whose chain value it continues, but whose payload has another hash. */
  readonly damaged: Link | undefined;
  /** What continues the last good frame, behind the broken one. */
  readonly sibling: Link | undefined;
  /** Whether something continues the broken frame, or is behind it at all. */
  readonly isContinued: boolean;
  readonly isLast: boolean;
}

type Problem = (code: string, at: number, text: string) => OperatingError;

/** The error that says what happened. `messages`: the whole ledger, as it was read. Bounded memory. */
export async function explainBreak(
  messages: () => AsyncIterable<LogMessage>,
  found: ChainBreak,
  unit: PlaceUnit,
): Promise<OperatingError> {
  let broken: Link | undefined;
  for await (const message of messages())
    if (message.streamSequence === found.at) {
      broken = linkOf(message);
      break;
    }
  const problem: Problem = (code, at, text) => ledgerProblem(code, { unit, at }, text);
  if (broken === undefined) return problem("log_fork", found.at, "the ledger changed while it was read");
  let sights = await look(messages(), broken, found);
  // Frames that were stepped over because others had taken their place lead back to where those begin.
  for (let step = 0; step < STEPS_MAX && isPassedOver(sights.parent, sights.broken, found); step += 1)
    sights = await look(messages(), sights.parent, found);
  return judge(sights, found, problem, unit);
}

const isPassedOver = (parent: Link | undefined, broken: Link, { tipAt }: ChainBreak): parent is Link =>
  parent !== undefined && parent.at > tipAt && parent.at < broken.at;

async function look(messages: AsyncIterable<LogMessage>, broken: Link, { tip }: ChainBreak): Promise<Sights> {
  let parent: Link | undefined;
  let damaged: Link | undefined;
  let sibling: Link | undefined;
  let isContinued = false;
  let isLast = true;
  for await (const message of messages) {
    const link = linkOf(message);
    if (link.at === broken.at) continue;
    const isChained = link.chain === link.header;
    if (isChained && link.chain === broken.prev) parent ??= link;
    if (!isChained && (link.chain === broken.prev || link.header === broken.prev)) damaged ??= link;
    if (link.at < broken.at) continue;
    isLast = false;
    if (isChained && link.prev === tip.chain) sibling ??= link;
    if (isChained && link.prev === broken.chain) isContinued = true;
  }
  return { broken, parent, damaged, sibling, isContinued, isLast };
}

function judge(sights: Sights, { tip, tipAt, at }: ChainBreak, problem: Problem, unit: PlaceUnit): OperatingError {
  const { broken, parent, damaged, sibling } = sights;
  if (damaged !== undefined)
    return problem(
      "ledger_frame_changed",
      damaged.at,
      `the payload and the chain value beside it do not agree, and the frame at ${unit} ${at} continues it: a bit of one of the two was changed`,
    );
  if (parent !== undefined && parent.at > at)
    return problem(
      "ledger_frame_reordered",
      at,
      `it continues the frame at ${unit} ${parent.at}, which stands behind it: frames were reordered`,
    );
  if (sibling !== undefined)
    return problem(
      "ledger_frame_inserted",
      at,
      `it does not continue the frame before it, and the one at ${unit} ${sibling.at} does: what stands from here to there was inserted`,
    );
  if (parent !== undefined)
    return problem(
      "ledger_frame_inserted",
      parent.at + 1,
      `the frame at ${unit} ${at} continues the one at ${unit} ${parent.at}: what stands between the two was inserted, or the log forked`,
    );
  if (typeof broken.first === "number" && broken.first > tip.nextSequence)
    return problem(
      "ledger_frame_removed",
      at,
      `the events from sequence ${tip.nextSequence} to ${broken.first - 1} are missing before it: frames were removed`,
    );
  return changed(sights, tipAt, problem, unit);
}

/** No frame that the broken one could continue is there, and no event is missing. */
function changed(
  { broken: { at }, isContinued, isLast }: Sights,
  tipAt: number,
  problem: Problem,
  unit: PlaceUnit,
): OperatingError {
  if (tipAt === 0)
    return problem(
      "ledger_frame_changed",
      at,
      "it does not continue the chain value before the range: it was changed, or that value was, or a frame without events was removed",
    );
  if (!isContinued && !isLast)
    return problem(
      "ledger_frame_changed",
      at,
      "it does not continue the frame before it, and nothing continues it: it was changed, with the chain value beside it",
    );
  const which = isLast ? ", or this one was," : "";
  return problem(
    "ledger_frame_changed",
    tipAt,
    `the frame at ${unit} ${at} continues another one: this one was changed, with the chain value beside it,${which} or a frame without events was removed behind it`,
  );
}

function linkOf({ streamSequence, payload, chainHeader }: LogMessage): Link {
  const { prev, first } = fieldsOf(payload);
  return { at: streamSequence, chain: chainOf(payload), header: chainHeader, prev, first };
}

function fieldsOf(payload: Uint8Array): { readonly prev?: unknown; readonly first?: unknown } {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(payload));
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {}; // a stranger's message
  }
}
