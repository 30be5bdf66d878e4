/** The public entry of the contracts: what an integrator in TypeScript imports. */
import * as limits from "./limits.ts";

export { Backpressure } from "./backpressure.ts";
export { BODY_ATTRIBUTE, BodyReference, bodyName, REFERENCE_ENCODING } from "./body-reference.ts";
export {
  type Command,
  type CommandOf,
  DrainItem,
  EnqueueItem,
  ItemPayload,
  REQUESTS,
  type RequestInput,
  type RequestOf,
  type ShardCommand,
} from "./commands.ts";
export {
  ERROR_CODES,
  ERRORS,
  type ErrorBody,
  ErrorBodySchema,
  type ErrorCode,
  errorBody,
  errorEntry,
  OperatingError,
} from "./errors.ts";
export { Actor, EVENTS, type EventOf, type EventType, LogEvent } from "./events.ts";
export { Checkpoint, Follower, FollowersPatch } from "./followers.ts";
export { CHAIN_START, Frame, LogPosition } from "./frame.ts";
export { isPrincipal, principalOfPeer, tokenEpochOf, tokenOf, utf8Length } from "./ids.ts";
export {
  LEDGER_FORMATS,
  LEDGER_VERSION,
  LedgerDigest,
  LedgerExportFooter,
  LedgerExportFrame,
  LedgerExportHeader,
  LedgerExtension,
  LedgerProof,
  SignedDigest,
} from "./ledger.ts";
export { optionProblems, SHARD_OPTIONS_DEFAULT, ShardOptions, ShardOptionsPatch } from "./options.ts";
export type {
  AppendOutcome,
  Clock,
  Closable,
  Ids,
  Kv,
  Log,
  LogMessage,
  Net,
  NetMessage,
  ReadOutcome,
  Reporter,
  Store,
} from "./ports.ts";
export { Beat, ErrorReply, REPLIES, type ReplyOf } from "./replies.ts";
export {
  changesStream,
  changesSubject,
  isVerb,
  logStream,
  logSubject,
  rpcSubject,
  SUBJECTS,
  VERBS,
  type Verb,
} from "./subjects.ts";
export { upcastEvent } from "./upcast-event.ts";
/** Every bound of the system. */
export { limits };
