/** What may be done to a shard's log behind the mesh's back: trimmed, purged, deleted, written by strangers. */
import type { Frame } from "../../contracts/frame.ts";
import { CHAIN_HEADER, logStream, logSubject } from "../../contracts/subjects.ts";
import { askApiAsync, publishAsync } from "../../services/jetstream/api.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { headerBlock } from "../../services/jetstream/header-block.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { streamConfig } from "../../services/jetstream/stream-config.ts";
import { chainOf, decodeFrame, encodeFrame } from "../../services/runtime/frame-codec.ts";
import type { Cleanup } from "./process.ts";

interface LogBounds {
  readonly first: number;
  readonly last: number;
  readonly messages: number;
  readonly bytes: number;
}

export interface LogHand {
  bounds(): Promise<LogBounds>;
  /** Removes what lies below; without a sequence everything. */
  purge(keepFrom?: number): Promise<void>;
  remove(): Promise<void>;
  /** Changes the stream's byte limit. */
  limit(maxBytes: number): Promise<void>;
  /** Makes an empty stream of the same name and configuration. */
  create(): Promise<void>;
  /** Stores a message of somebody's; with `chained` as a frame of the chain would be. */
  publish(payload: Uint8Array, chained?: boolean): Promise<void>;
  /** The payload of a stored message. */
  read(streamSequence: number): Promise<Uint8Array>;
  /** Writes a message for a key of a KV bucket. */
  put(bucket: string, key: string, value: string, headers?: Readonly<Record<string, string>>): Promise<void>;
}

export async function logHand(
  servers: string | readonly string[],
  place: { readonly region?: string; readonly shard: string },
  cleanup: Cleanup,
): Promise<LogHand> {
  const { region = "local", shard } = place;
  const connection = await connectNats({ servers, name: "hand" });
  const inbox = new Inbox(connection);
  const stream = logStream(region, shard);
  cleanup(async () => {
    inbox.close();
    await connection.close();
  });
  const ask = async (subject: string, body?: object): Promise<Readonly<Record<string, unknown>>> => {
    const outcome = await askApiAsync(inbox, `${subject}.${stream}`, body);
    if (outcome.kind !== "ok") throw new Error(`${subject}: ${JSON.stringify(outcome)}`);
    return outcome.value;
  };
  const publish = async (subject: string, payload: Uint8Array, headers: Readonly<Record<string, string>>) => {
    const block = headerBlock(Object.entries(headers).map(([name, value]) => ({ name, value })));
    const outcome = await publishAsync(inbox, subject, payload, block);
    if (outcome.kind !== "ok") throw new Error(`publish: ${JSON.stringify(outcome)}`);
  };
  return {
    bounds: async () => {
      const { state } = (await ask("STREAM.INFO")) as { state: Record<string, number> };
      const { first_seq: first = 0, last_seq: last = 0, messages = 0, bytes = 0 } = state;
      return { first, last, messages, bytes };
    },
    purge: async (keepFrom) => void (await ask("STREAM.PURGE", keepFrom === undefined ? {} : { seq: keepFrom })),
    limit: async (maxBytes) => {
      const { config } = (await ask("STREAM.INFO")) as { config: object };
      await ask("STREAM.UPDATE", { ...config, max_bytes: maxBytes });
    },
    remove: async () => void (await ask("STREAM.DELETE")),
    create: async () =>
      void (await ask("STREAM.CREATE", streamConfig({ region, shard, replicas: 1, maxBytes: -1 }) as object)),
    publish: (payload, chained = false) =>
      publish(logSubject(region, shard), payload, chained ? { [CHAIN_HEADER]: chainOf(payload) } : {}),
    read: async (streamSequence) => {
      const { message } = (await ask("STREAM.MSG.GET", { seq: streamSequence })) as { message: { data: string } };
      return Buffer.from(message.data, "base64");
    },
    put: (bucket, key, value, headers = {}) => publish(`$KV.${bucket}.${key}`, Buffer.from(value), headers),
  };
}

/** A frame in its right place by every number, and behind another frame by its chain. */
export function forgedAfter(payload: Uint8Array): Uint8Array {
  const decoded = decodeFrame(payload);
  if (decoded.kind === "void") throw new Error("the last message is no frame");
  const { frame } = decoded;
  const forged: Frame = { ...frame, append: "forged", first: frame.first + frame.count, prev: "0".repeat(64) };
  return encodeFrame(forged);
}
