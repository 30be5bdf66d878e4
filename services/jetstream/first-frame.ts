/** The frame that creates a log, made once per provisioning: an attempt whose acknowledgement was lost must be recognised by its bytes. */
import { OperatingError } from "../../contracts/errors.ts";
import { CHAIN_START, Frame } from "../../contracts/frame.ts";
import { FRAME_SCHEMA, LOG_VERSION_MAX } from "../../contracts/limits.ts";
import {
  optionProblems,
  SHARD_OPTIONS_DEFAULT,
  type ShardOptions,
  type ShardOptionsPatch,
} from "../../contracts/options.ts";
import { chainOf, encodeFrame } from "../runtime/frame-codec.ts";

/** Term of a frame that no leader wrote. */
const TERM_CREATION = 0;
const APPEND_ID_LENGTH_MAX = 64;

export interface FirstFrameRequest {
  readonly region: string;
  readonly shard: string;
  readonly options: ShardOptionsPatch;
  readonly writer: string;
  newLogId(): string;
  readonly at?: number;
}

export class FirstFrame {
  readonly #request: FirstFrameRequest;
  readonly #options: ShardOptions;
  #payload: Uint8Array | undefined;

  /** Throws `invalid_options` (definite) when the options, completed by the defaults, contradict each other. */
  constructor(request: FirstFrameRequest) {
    this.#request = request;
    this.#options = completeOptions(request.options);
  }

  /** The bytes to append. `serverTimeMs` counts at the first call only, and only where the request names no time. */
  payload(serverTimeMs: number): Uint8Array {
    this.#payload ??= this.#encode(serverTimeMs);
    return this.#payload;
  }

  /** Whether a stored frame with this chain value is ours. */
  isStoredAs(chain: string): boolean {
    return this.#payload !== undefined && chainOf(this.#payload) === chain;
  }

  #encode(serverTimeMs: number): Uint8Array {
    const { region, shard, writer, at = serverTimeMs } = this.#request;
    const logId = this.#request.newLogId();
    const created = { type: "logCreated", logId, logVersion: LOG_VERSION_MAX, options: this.#options, tokenEpoch: 0 };
    const frame = {
      schema: FRAME_SCHEMA,
      logId,
      region,
      shard,
      term: TERM_CREATION,
      writer,
      append: `genesis/${logId}`.slice(0, APPEND_ID_LENGTH_MAX),
      first: 1,
      count: 1,
      at,
      prev: CHAIN_START,
      pending: 0,
      active: 0,
      actors: [],
      events: [created],
    };
    // Parsed before it is written: a wrong peer id or log id must not become the beginning of a log.
    return encodeFrame(Frame.parse(frame));
  }
}

function completeOptions(patch: ShardOptionsPatch): ShardOptions {
  const named = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined));
  const options: ShardOptions = { ...SHARD_OPTIONS_DEFAULT, ...named };
  const problems = optionProblems(options);
  if (problems.length === 0) return options;
  throw new OperatingError("invalid_options", problems.join("; "), { definite: true });
}
