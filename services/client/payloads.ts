/**
 * Typed payloads: one schema per `resourceType`, checked before an item is sent and again before a handler sees it, with steps that lift
 * what older releases wrote. What is checked is the JSON that travels, so a value that JSON changes is refused where it is made.
 */
import { OperatingError } from "../../contracts/errors.ts";
import { decodeBody, type EncodedBody, json } from "./body.ts";
import type { CallOptions } from "./client-core.ts";
import type { EnqueueInput } from "./entries.ts";
import type { Enqueued, IdempotentOptions, Lease, LeaseClient } from "./lease-client.ts";
import type { HandlerContext, LeaseHandler, LeaseWorkerOptions } from "./lease-worker.ts";
import { issuesText, PAYLOAD_INVALID, PayloadError, payloadIssues } from "./payload-error.ts";
import type { EntryResult } from "./refusal.ts";
import type { SchemaInput, SchemaOutput, SchemaResult, StandardSchema } from "./standard-schema.ts";
import { FatalItemError } from "./worker-events.ts";

/** Makes a payload of version n into one of version n + 1. What it throws makes the payload invalid. */
export type Upcast = (old: unknown) => unknown;

export interface PayloadOptions {
  /** Version that is written. 1 by default, which is also that of a body that names none. */
  readonly version?: number | undefined;
  /** By the version that a step begins at; without gaps up to `version`. Versions below the lowest one are read no more. */
  readonly upcasts?: Readonly<Record<number, Upcast>> | undefined;
}

export interface Payload<Schema extends StandardSchema = StandardSchema> {
  readonly schema: Schema;
  readonly version: number;
  readonly upcasts: Readonly<Record<number, Upcast>>;
  /** Lowest version that is read. */
  readonly versionMin: number;
}
type PayloadMap = Readonly<Record<string, Payload>>;
type TypeOf<Map extends PayloadMap> = Extract<keyof Map, string>;

/** An item with a value instead of a body. */
export type PayloadItem<Map extends PayloadMap> = {
  readonly [Type in TypeOf<Map>]: Omit<EnqueueInput, "resourceType" | "payloadEncoding" | "body"> & {
    readonly resourceType: Type;
    readonly payload: SchemaInput<Map[Type]["schema"]>;
  };
}[TypeOf<Map>];

/** Works on one item; see `LeaseHandler`. */
export type PayloadHandler<Value> = (
  payload: Value,
  lease: Lease,
  context: HandlerContext,
  // biome-ignore lint/suspicious/noConfusingVoidType: a handler without a result is an async function that returns nothing.
) => Promise<string | void>;
export type PayloadHandlers<Map extends PayloadMap> = {
  readonly [Type in TypeOf<Map>]?: PayloadHandler<SchemaOutput<Map[Type]["schema"]>>;
};

/** What takes items: a `LeaseClient`, or what stands in front of one. */
export type Enqueuer = Pick<LeaseClient, "enqueue" | "enqueueMany">;
type SingleOptions = CallOptions & Pick<IdempotentOptions, "after">;

/** Result of a check: at once where the schema answers at once, so that a hot path makes no promise for it. */
type Checked<T> = T | Promise<T>;

const VERSION = /;v=([0-9]{1,9})(?=;|$)/;
const JSON_TYPE = "application/json";

/** A schema with the version that it describes. Throws: OperatingError `invalid_options`. */
export function payload<const Schema extends StandardSchema>(
  schema: Schema,
  { version = 1, upcasts = {} }: PayloadOptions = {},
): Payload<Schema> {
  const from = Object.keys(upcasts).map(Number);
  const versionMin = Math.min(version, ...from);
  const isGapless = from.length === version - versionMin && from.every((step) => step < version);
  const areVersions = [version, ...from].every((one) => Number.isSafeInteger(one) && one >= 1);
  if (!areVersions || version > 999_999_999)
    throw invalid(`a payload version is a whole number from 1 on, not ${[version, ...from].join(", ")}`);
  if (!isGapless)
    throw invalid(`upcasts must lead without gaps to version ${version}; they begin at ${from.join(", ")}`);
  return { schema, version, upcasts, versionMin };
}

/** The payloads of a service, by `resourceType`. */
export function definePayloads<const Map extends PayloadMap>(map: Map): Payloads<Map> {
  return new Payloads(map);
}

export class Payloads<Map extends PayloadMap> {
  readonly #byType: ReadonlyMap<string, Payload>;

  constructor(map: Map) {
    this.#byType = new globalThis.Map(Object.entries(map));
  }

  /** Refused with a `PayloadError` when the payload does not fit; nothing is sent then. */
  enqueue(client: Enqueuer, item: PayloadItem<Map>, options: SingleOptions = {}): Promise<Enqueued> {
    try {
      const input = this.encode(item);
      return input instanceof Promise
        ? input.then((known) => client.enqueue(known, options))
        : client.enqueue(input, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** One result per item, in the order given. With a `requestId` of the whole request one that does not fit refuses all. */
  async enqueueMany(
    client: Enqueuer,
    items: readonly PayloadItem<Map>[],
    options: IdempotentOptions = {},
  ): Promise<readonly EntryResult<Enqueued>[]> {
    const results: (EntryResult<Enqueued> | undefined)[] = [];
    const inputs: EnqueueInput[] = [];
    for (const item of items) {
      try {
        const input = this.encode(item);
        inputs.push(input instanceof Promise ? await input : input);
        results.push(undefined);
      } catch (error) {
        if (!(error instanceof PayloadError) || options.requestId !== undefined) throw error;
        results.push({ kind: "refused", error: error.toRefusal() });
      }
    }
    const sent = (await client.enqueueMany(inputs, options)).values();
    return results.map((result) => result ?? (sent.next().value as EntryResult<Enqueued>));
  }

  /** The item as it travels. Throws a `PayloadError`. */
  encode({ payload: value, ...rest }: PayloadItem<Map>): Checked<EnqueueInput> {
    const known = this.#known(rest.resourceType);
    const encoded = encodedBody(known, rest.resourceType, value);
    const finish = (result: SchemaResult<unknown>): EnqueueInput => {
      if (result.issues === undefined) return { ...rest, ...encoded };
      const issues = payloadIssues(result.issues);
      throw new PayloadError(`the payload of ${rest.resourceType} does not fit: ${issuesText(issues)}`, { issues });
    };
    const result = known.schema["~standard"].validate(JSON.parse(encoded.body));
    return result instanceof Promise ? result.then(finish) : finish(result);
  }

  /** The payload of a leased item. Throws a `FatalItemError` with the code `payload_invalid` when it does not fit. */
  decode({ item }: Pick<Lease, "item">): Checked<unknown> {
    const known = this.#known(item.resourceType);
    const result = known.schema["~standard"].validate(lifted(known, item));
    return result instanceof Promise ? result.then(fitting) : fitting(result);
  }

  /** Handler and types for a worker: `new LeaseWorker(client, { ...payloads.handlers({ mail: async (mail) => … }) })`. */
  handlers(handlers: PayloadHandlers<Map>): Pick<LeaseWorkerOptions, "handler" | "resourceTypes"> & {
    readonly handler: LeaseHandler;
  } {
    const byType = new globalThis.Map<string, PayloadHandler<unknown>>(
      Object.entries(handlers as Record<string, PayloadHandler<unknown>>).filter(([, one]) => one !== undefined),
    );
    const handler: LeaseHandler = (lease, context) => {
      const handle = byType.get(lease.item.resourceType);
      if (handle === undefined) throw new Error(`no handler for ${lease.item.resourceType}`);
      const value = this.decode(lease);
      return value instanceof Promise
        ? value.then((known) => handle(known, lease, context))
        : handle(value, lease, context);
    };
    return { handler, resourceTypes: [...byType.keys()] };
  }

  #known(resourceType: string): Payload {
    const known = this.#byType.get(resourceType);
    if (known === undefined) throw invalid(`no payload is defined for the resource type ${resourceType}`);
    return known;
  }
}

/** The version stands in the media type: it goes wherever the body goes, and whoever does not know of it still reads JSON. */
function encodedBody({ version }: Payload, resourceType: string, value: unknown): EncodedBody {
  try {
    const encoded = json(value);
    return version === 1 ? encoded : { ...encoded, payloadEncoding: `${JSON_TYPE};v=${version}` };
  } catch (error) {
    // JSON.stringify throws whatever a toJSON throws, and TypeErrors of its own.
    const message = error instanceof Error ? error.message : String(error);
    const text = `the payload of ${resourceType} has no JSON form: ${message}`;
    throw new PayloadError(text, { issues: [{ path: "", message }], cause: error });
  }
}

/** The value of a body, in the newest version. */
function lifted(known: Payload, item: Lease["item"]): unknown {
  const encoding = item.payloadEncoding.toLowerCase();
  if (encoding.split(";", 1)[0] !== JSON_TYPE || encoding.endsWith(";base64"))
    throw unfit(`its encoding is ${item.payloadEncoding}, not ${JSON_TYPE}`);
  const version = Number(VERSION.exec(encoding)?.[1] ?? 1);
  if (version > known.version)
    throw unfit(`it has version ${version}; this worker knows versions up to ${known.version}`);
  if (version < known.versionMin)
    throw unfit(`it has version ${version}; this worker reads versions from ${known.versionMin} on`);
  let value = parsed(item);
  for (let step = version; step < known.version; step += 1) value = raised(known, step, value);
  return value;
}

function parsed(item: Lease["item"]): unknown {
  try {
    return decodeBody(item);
  } catch (error) {
    throw unfit(`its body is no JSON (${(error as SyntaxError).message})`, error);
  }
}

function raised({ upcasts }: Payload, version: number, value: unknown): unknown {
  try {
    return upcasts[version]?.(value);
  } catch (error) {
    throw unfit(`it cannot be lifted from version ${version}: ${error instanceof Error ? error.message : ""}`, error);
  }
}

function fitting(result: SchemaResult<unknown>): unknown {
  if (result.issues === undefined) return result.value;
  throw unfit(issuesText(payloadIssues(result.issues)));
}

const unfit = (why: string, cause?: unknown): FatalItemError =>
  new FatalItemError(`the payload does not fit: ${why}`, { code: PAYLOAD_INVALID, cause });

const invalid = (message: string): OperatingError => new OperatingError("invalid_options", message, { definite: true });
