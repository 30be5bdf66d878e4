/** Posts events to an HTTP endpoint, signed, in order. */
import assert from "node:assert/strict";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import { isObject } from "../option-problems.ts";
import type { Sink, SinkBatch, SinkDeps, SinkKind, SinkScope } from "../sink.ts";
import { eventRefused } from "./event-refused.ts";
import { checkEndpoint, endpointFields } from "./http-endpoint.ts";
import { HttpPoster, type PostOutcome } from "./http-poster.ts";
import { readSecret, SecretSource } from "./secret-source.ts";
import { titleOf } from "./sink-errors.ts";
import { SIGNATURE_HEADER, signatureOf } from "./webhook-signature.ts";

/** Version of the request's body. */
const BODY_SCHEMA = 1;
/** Shorter secrets can be guessed. Characters. */
const SECRET_LENGTH_MIN = 16;

const WebhookOptions = z
  .strictObject({
    ...endpointFields,
    secrets: z
      .array(SecretSource)
      .min(1)
      .max(2)
      .describe(
        "What requests are signed with: `env` or `file` of each, at least 16 characters; two while the secret is being changed.",
      ),
  })
  .superRefine(checkEndpoint, { when: isObject });
type WebhookOptions = Readonly<z.infer<typeof WebhookOptions>>;

export const webhookKind: SinkKind<WebhookOptions> = {
  kind: "webhook",
  summary: "Posts events as JSON to an HTTP endpoint, signed by HMAC-SHA256.",
  guarantee: "at least once",
  options: WebhookOptions,
  create: (options, deps) => new WebhookSink(options, deps),
};

/** Events of one request, with the JSON of each. */
interface Run {
  readonly events: readonly ReplicationEvent[];
  readonly texts: readonly string[];
  /** Sequence behind which the run begins, and up to which all is in it that the filter lets through. */
  readonly after: number;
  readonly upTo: number;
}

class WebhookSink implements Sink {
  readonly #options: WebhookOptions;
  readonly #deps: SinkDeps;
  #poster: HttpPoster | undefined;
  #secrets: readonly string[] = [];

  constructor(options: WebhookOptions, deps: SinkDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Throws: OperatingError `secret_unusable`, `option_file_unusable`, `address_not_allowed`; definite. The endpoint is not asked before there are events. */
  async open(): Promise<undefined> {
    const { secrets, ...endpoint } = this.#options;
    this.#secrets = secrets.map((source) => readSecret(source, SECRET_LENGTH_MIN));
    this.#poster = new HttpPoster(endpoint, this.#deps.clock);
  }

  /**
   * Throws: as `HttpPoster.post`; OperatingError `webhook_refused` (a 4xx about what was sent), `event_refused` (the same for one event, or one
   * above `requestBytesMax`); both definite.
   */
  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    const bytesMax = this.#options.requestBytesMax;
    for (const run of runsOf(batch, bytesMax)) await this.#send(batch.scope, run, signal);
  }

  async close(): Promise<void> {
    this.#poster?.close();
  }

  async #send(scope: SinkScope, run: Run, signal: AbortSignal): Promise<void> {
    const outcome = await this.#post(scope, run, signal);
    if (outcome.kind === "done") return;
    const { status } = outcome;
    const said = `the endpoint answered ${status}: ${JSON.stringify(outcome.text)}`;
    const [first] = run.events;
    if (run.events.length === 1 && first !== undefined) throw eventRefused(scope, first, said, { status });
    const { after, upTo } = run;
    throw new OperatingError(
      "webhook_refused",
      `${titleOf(scope)} cannot bring events ${after + 1} to ${upTo}: ${said}`,
      {
        definite: true,
        details: { ...scope, status, after, upTo },
      },
    );
  }

  #post(scope: SinkScope, run: Run, signal: AbortSignal): Promise<PostOutcome> {
    const { after, upTo, texts } = run;
    const body = Buffer.from(`${bodyStart(scope, after, upTo)}${texts.join(",")}]}`);
    const headers = {
      "Idempotency-Key": `${scope.logId}/${after}-${upTo}`,
      [SIGNATURE_HEADER]: signatureOf(body, this.#secrets, this.#deps.clock.wallMs()),
    };
    assert(this.#poster !== undefined, "apply comes after open");
    return this.#poster.post(body, headers, signal);
  }
}

const bodyStart = (scope: SinkScope, after: number, upTo: number): string =>
  `${JSON.stringify({ schema: BODY_SCHEMA, scope, after, upTo }).slice(0, -1)},"events":[`;

/** A batch as runs of at most so many bytes each. A batch without events is none: there is nothing to tell. */
function* runsOf({ scope, after, upTo, events }: SinkBatch, bytesMax: number): Generator<Run> {
  const roomBytes = bytesMax - Buffer.byteLength(bodyStart(scope, upTo.sequence, upTo.sequence)) - "]}".length;
  let run = { events: [] as ReplicationEvent[], texts: [] as string[], after: after.sequence };
  let bytes = 0;
  for (const event of events) {
    const text = JSON.stringify(event);
    const own = Buffer.byteLength(text) + ",".length;
    const last = run.events.at(-1)?.sequenceNumber;
    if (bytes + own > roomBytes && last !== undefined) {
      yield { ...run, upTo: last };
      run = { events: [], texts: [], after: last };
      bytes = 0;
    }
    if (own > roomBytes) throw eventRefused(scope, event, `it has ${own} bytes, a request may have ${bytesMax}`);
    run.events.push(event);
    run.texts.push(text);
    bytes += own;
  }
  if (run.events.length > 0) yield { ...run, upTo: upTo.sequence };
}
