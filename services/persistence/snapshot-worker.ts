/** The worker's side of a snapshot thread: packs, hashes and writes what comes, in the order in which it comes. */

import assert from "node:assert/strict";
import { constants, setPriority } from "node:os";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { UNPACKED_SPARE, unpackChunk } from "./snapshot-chunk.ts";
import {
  type Call,
  type Calls,
  type FromWorker,
  type PlainError,
  plainError,
  type ToWorker,
} from "./snapshot-protocol.ts";
import { SqliteSnapshotStore, type SqliteSnapshotWriter } from "./snapshot-sqlite.ts";

// On Linux this is the priority of the calling thread alone: requests come before compression where cores are few.
if (process.platform === "linux") setPriority(constants.priority.PRIORITY_LOW);

/** How it is started. */
export interface ThreadStart {
  readonly folder: string;
}

interface Writing {
  readonly writer: SqliteSnapshotWriter;
  failure: PlainError | undefined;
}

class SnapshotService {
  readonly #port: MessagePort;
  readonly #store: SqliteSnapshotStore;
  readonly #writing = new Map<number, Writing>();

  constructor(port: MessagePort, store: SqliteSnapshotStore) {
    this.#port = port;
    this.#store = store;
  }

  async receive(message: ToWorker): Promise<void> {
    switch (message.kind) {
      case "text":
        return this.#take(message.writer, (writer) => writer.write(message.text));
      case "chunk":
        return this.#take(message.writer, (writer) => writer.add(message.chunk));
      case "abort":
        return this.#forget(message.writer)?.writer.abort();
      case "call":
        return this.#answer(message.id, message.call);
    }
  }

  /** Writing is synchronous here, so the order of messages is the order of chunks. */
  #take(id: number, step: (writer: SqliteSnapshotWriter) => void): void {
    const writing = this.#begun(id);
    try {
      if (writing.failure === undefined) step(writing.writer);
    } catch (error) {
      writing.failure = plainError(error);
    }
    const { failure } = writing;
    this.#say({ kind: "taken", writer: id, ...(failure === undefined ? {} : { error: failure }) });
  }

  async #answer(id: number, call: Call): Promise<void> {
    try {
      const value = await this.#do(call);
      this.#say({ kind: "answer", id, value }, transferable(call, value));
    } catch (error) {
      this.#say({ kind: "refusal", id, error: plainError(error) });
    }
    if (call.name === "close") this.#port.close();
  }

  async #do({ name, ask }: Call): Promise<unknown> {
    const store = this.#store;
    switch (name) {
      case "list":
        return store.list(ask.region, ask.shard);
      case "text": {
        const chunk = store.chunk(ask.info, ask.index);
        const { textBytes, sha256 } = chunk;
        return { textBytes, sha256, utf8: unpackChunk(ask.info.label, ask.index, chunk) };
      }
      case "chunk":
        return store.chunk(ask.info, ask.index);
      case "verify":
        return store.verify(ask.info);
      case "remove":
        return store.remove(ask.info);
      case "prune":
        return store.prune(ask.newest, ask.keep);
      case "publish": {
        const { writer } = this.#begun(ask.writer);
        this.#forget(ask.writer);
        return writer.publish(ask.label);
      }
      case "close":
        return store.close();
    }
  }

  #begun(id: number): Writing {
    const known = this.#writing.get(id);
    if (known !== undefined) return known;
    const writing = { writer: this.#store.begin(), failure: undefined };
    this.#writing.set(id, writing);
    return writing;
  }

  #forget(id: number): Writing | undefined {
    const writing = this.#writing.get(id);
    this.#writing.delete(id);
    return writing;
  }

  #say(message: FromWorker, transfer: readonly ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }
}

/** Rows of SQLite and what zlib unpacks come in memory of their own, which can move to the other thread as it is. */
function transferable({ name }: Call, value: unknown): ArrayBuffer[] {
  if (name === "chunk") return buffersOf((value as Calls["chunk"]["answer"]).data, 0);
  if (name === "text") return buffersOf((value as Calls["text"]["answer"]).utf8, UNPACKED_SPARE);
  return [];
}

/** The memory of some bytes, unless much more than they lives there. */
function buffersOf({ buffer, byteLength }: Uint8Array, spareMax: number): ArrayBuffer[] {
  return buffer instanceof ArrayBuffer && buffer.byteLength - byteLength <= spareMax ? [buffer] : [];
}

function start(port: MessagePort, { folder }: ThreadStart): void {
  let store: SqliteSnapshotStore;
  try {
    store = SqliteSnapshotStore.open(folder);
  } catch (error) {
    port.postMessage({ kind: "open_failed", error: plainError(error) } satisfies FromWorker);
    return;
  }
  const service = new SnapshotService(port, store);
  // A rejection here is a defect: unhandled, it ends the worker, and the main thread hears of it.
  port.on("message", (message: ToWorker) => void service.receive(message));
  port.postMessage({ kind: "opened" } satisfies FromWorker);
}

assert(parentPort !== null, "this file is the body of a worker thread");
start(parentPort, workerData as ThreadStart);
