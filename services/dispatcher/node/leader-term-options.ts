/** What one term of leadership is given, what it keeps until its answers may leave, and how it ends. */

import type { Backpressure } from "../../../contracts/backpressure.ts";
import type { Command } from "../../../contracts/commands.ts";
import type { Clock, Ids, Net, Reporter } from "../../../contracts/ports.ts";
import type { NextTick } from "../../../contracts/schedules.ts";
import type { LogReader } from "../../core/log-reader.ts";
import type { Outcome } from "../../core/outcome.ts";
import type { ShardState } from "../../core/state.ts";
import type { Appender, AppendResult } from "./appender.ts";
import type { FrameBytes } from "./frame-bytes.ts";
import type { LogTime } from "./log-time.ts";
import type { NodeConfig } from "./node-config.ts";
import type { SealedFrame } from "./open-frame.ts";
import type { PendingRequest } from "./pending-request.ts";
import type { Proof } from "./proof.ts";
import type { Upkeep } from "./upkeep.ts";

/** How a term ends. `released` by ourselves; `deposed` by another leader's frame; `halted` because the log is wrong. */
export type TermEnd =
  | { readonly kind: "released" }
  /** `dirty`: the state holds events that are not in the log and must be built again. */
  | { readonly kind: "deposed"; readonly dirty: boolean }
  | (Extract<AppendResult, { kind: "halted" }> & { readonly dirty: boolean });

export interface LeaderTermOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly reporter: Reporter;
  readonly state: ShardState;
  readonly reader: LogReader;
  readonly appender: Appender;
  readonly logTime: LogTime;
  readonly proof: Proof;
  readonly upkeep: Upkeep;
  readonly nextTick: NextTick;
  /** Where it tells of its backpressure. */
  readonly net: Net;
  readonly onEnd: (end: TermEnd) => void;
}

/** An answer that waits for the frames that it was decided on. */
export interface Waiting {
  readonly request: PendingRequest<Command>;
  readonly outcome: Outcome;
  /** Whether the request left events: then a missing ack leaves its outcome unknown. */
  readonly hasEffect: boolean;
}

/** The frame that has no answer yet. */
export interface Flight {
  readonly sealed: SealedFrame;
  /** What the payload stands in. */
  readonly bytes: FrameBytes;
  readonly answers: readonly Waiting[];
  readonly sentMs: number;
  /** What is told of backpressure once it is acknowledged. */
  readonly pressure: Backpressure;
}
