/** Tells leases as runs of OpenLineage, to an HTTP endpoint or into files. */
import assert from "node:assert/strict";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import { RELEASE_VERSION } from "../../../contracts/version.ts";
import { isObject } from "../option-problems.ts";
import type { Sink, SinkBatch, SinkDeps, SinkKind, SinkScope } from "../sink.ts";
import { eventRefused } from "./event-refused.ts";
import { checkEndpoint, endpointFields } from "./http-endpoint.ts";
import { HttpPoster } from "./http-poster.ts";
import {
  type LeasedResource,
  type LineageNames,
  type RunEvent,
  runEventOf,
  runningEventsOf,
} from "./lineage-events.ts";
import { LineageFiles, type LineOfDay } from "./lineage-file.ts";
import { dayOf } from "./lines-names.ts";
import { folderTarget } from "./sink-files.ts";

/** Leases whose resource is remembered for their heartbeats. */
const LEASES_MAX = 100_000;

const OpenLineageOptions = z
  .strictObject({
    http: z
      .strictObject(endpointFields)
      .superRefine(checkEndpoint, { when: isObject })
      .optional()
      .describe("Endpoint that takes one run event per request, such as `https://HOST/api/v1/lineage`."),
    folder: z
      .string()
      .min(1)
      .optional()
      .describe("Instead of `http`: folder for files of one run event per line, `<region>.<shard>.<day>.jsonl`."),
    namespace: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe("Namespace of the jobs; `omnirelay://<region>/<shard>` when absent."),
    producer: z.url().max(512).default(`urn:omnirelay:${RELEASE_VERSION}`).describe("URI of who tells the runs."),
    heartbeats: z
      .boolean()
      .default(false)
      .describe(
        "Whether heartbeats are told as RUNNING. Leases that were granted before the sink opened are left out.",
      ),
  })
  .refine(({ http, folder }) => (http === undefined) !== (folder === undefined), {
    error: "one of http and folder is needed, and only one",
    path: ["http"],
    when: isObject,
  });
type OpenLineageOptions = Readonly<z.infer<typeof OpenLineageOptions>>;

export const openlineageKind: SinkKind<OpenLineageOptions> = {
  kind: "openlineage",
  summary: "Tells leases as runs of OpenLineage, to an HTTP endpoint or into files.",
  guarantee: "at least once",
  options: OpenLineageOptions,
  target: ({ folder }) => (folder === undefined ? undefined : `run events in ${folderTarget(folder)}`),
  create: (options, deps) => new OpenLineageSink(options, deps),
};

/** What one event is told as. */
interface Told {
  readonly event: ReplicationEvent;
  readonly runs: readonly RunEvent[];
}

class OpenLineageSink implements Sink {
  readonly #options: OpenLineageOptions;
  readonly #deps: SinkDeps;
  #names: LineageNames | undefined;
  #poster: HttpPoster | undefined;
  #files: LineageFiles | undefined;
  /** Sequence up to which the endpoint has taken everything: a batch that is tried again goes on there. */
  #sent = 0;
  /** By token; the oldest goes first. */
  readonly #resources = new Map<number, LeasedResource>();

  constructor(options: OpenLineageOptions, deps: SinkDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Throws: as the constructor of `HttpPoster`, or as `LineageFiles.open`. */
  async open(scope: SinkScope, _checkpoint: Checkpoint | undefined): Promise<undefined> {
    const { http, folder, namespace = `omnirelay://${scope.region}/${scope.shard}`, producer } = this.#options;
    this.#names = { namespace, producer };
    if (http !== undefined) this.#poster = new HttpPoster(http, this.#deps.clock);
    if (folder === undefined) return;
    this.#files = new LineageFiles(folder, scope);
    await this.#files.open();
  }

  /** Throws: as `HttpPoster.post`; OperatingError `event_refused` (definite) for a run event that the endpoint refuses; as `LineageFiles.append`. */
  async apply({ scope, events }: SinkBatch, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { heartbeats } = this.#options;
    const told = events.flatMap((event): readonly Told[] => {
      const runs = this.#runsOf(event, scope);
      if (heartbeats) this.#remember(event);
      return runs.length === 0 ? [] : [{ event, runs }];
    });
    if (this.#files !== undefined) await this.#files.append(told.flatMap(linesOf));
    else for (const one of told) await this.#post(scope, one, signal);
  }

  async seek(): Promise<void> {
    this.#sent = 0;
  }

  async close(): Promise<void> {
    this.#poster?.close();
    await this.#files?.close();
  }

  #runsOf(event: ReplicationEvent, scope: SinkScope): readonly RunEvent[] {
    assert(this.#names !== undefined, "apply comes after open");
    const run = runEventOf(event, scope, this.#names);
    if (run !== undefined) return [run];
    if (!this.#options.heartbeats) return [];
    return runningEventsOf(event, scope, this.#names, (token) => this.#resources.get(token));
  }

  #remember({ eventType, ownershipToken: token, resourceType, resourceId }: ReplicationEvent): void {
    if (token === undefined || resourceType === undefined || resourceId === undefined) return;
    if (eventType !== "LeaseGranted") this.#resources.delete(token);
    else this.#resources.set(token, { resourceType, resourceId });
    const [oldest] = this.#resources.size > LEASES_MAX ? this.#resources.keys() : [];
    if (oldest !== undefined) this.#resources.delete(oldest);
  }

  async #post(scope: SinkScope, { event, runs }: Told, signal: AbortSignal): Promise<void> {
    if (event.sequenceNumber <= this.#sent) return;
    assert(this.#poster !== undefined, "apply comes after open");
    const bytesMax = this.#options.http?.requestBytesMax ?? 0;
    for (const run of runs) {
      const body = Buffer.from(JSON.stringify(run));
      if (body.byteLength > bytesMax)
        throw eventRefused(scope, event, `it has ${body.byteLength} bytes, a request may have ${bytesMax}`);
      const outcome = await this.#poster.post(body, {}, signal);
      if (outcome.kind === "done") continue;
      const { status, text } = outcome;
      throw eventRefused(scope, event, `the endpoint answered ${status}: ${JSON.stringify(text)}`, { status });
    }
    this.#sent = event.sequenceNumber;
  }
}

const linesOf = ({ event, runs }: Told): readonly LineOfDay[] =>
  runs.map((run) => ({ day: dayOf(event.timestamp), text: JSON.stringify(run) }));
