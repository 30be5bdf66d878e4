/**
 * Snapshots off the hot path: a worker thread packs, hashes, writes, verifies and reads, and this side only hands over strings. Bounded:
 * whoever writes faster than the worker is made to wait.
 */
import assert from "node:assert/strict";
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { OperatingError } from "../../contracts/errors.ts";
import { freed, readInOrder, textOf } from "./snapshot-chunk.ts";
import {
  type Call,
  type CallName,
  type Calls,
  type FromWorker,
  operatingError,
  type ToWorker,
} from "./snapshot-protocol.ts";
import {
  aborted,
  assertLabel,
  type EncodedChunk,
  type SnapshotInfo,
  type SnapshotLabel,
  type SnapshotStore,
  type SnapshotWriter,
} from "./snapshot-store.ts";
import type { ThreadStart } from "./snapshot-worker.ts";

/** Small texts are joined up to this before they cross: large enough to cross rarely, small enough that a turn with several stays short. UTF-16 code units. */
const HANDOVER_LENGTH = 64 * 1024;
/** Texts of that size on their way to the worker, per snapshot, before `write` asks to wait. */
const IN_FLIGHT_MAX = 8;
/** Chunks that a reader asks for before it needs them. */
const READ_AHEAD = 3;
/** What the worker takes for texts that it lets go of at once: more only lies there until it is collected. MiB. */
const YOUNG_MIB = 8;
/** How long the worker may take to end by itself. ms. */
const CLOSE_TIMEOUT_MS = 5_000;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: OperatingError): void;
}

/** The store of a data folder in a worker thread. It is the one writer of the folder. */
export class SnapshotThread implements SnapshotStore {
  readonly #worker: Worker;
  readonly #calls = new Map<number, Waiting>();
  readonly #writers = new Map<number, ThreadWriter>();
  readonly #exited: Promise<void>;
  #nextId = 1;
  #failure: OperatingError | undefined;
  #closing: Promise<void> | undefined;

  /** The folder exists. Throws: as `openSqlite`, and `snapshot_thread_failed` (the worker could not be started). */
  static async open(folder: string): Promise<SnapshotThread> {
    const data: ThreadStart = { folder };
    const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_MIB };
    const worker = new Worker(workerFile(), { workerData: data, name: "omnirelay snapshots", resourceLimits });
    const thread = new SnapshotThread(worker);
    try {
      await new Promise<unknown>((resolve, reject) => thread.#calls.set(0, { resolve, reject }));
      return thread;
    } catch (error) {
      await worker.terminate();
      throw error;
    }
  }

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on("message", (message: FromWorker) => this.#receive(message));
    worker.on("error", (error) => this.#fail(threadFailed(`it failed: ${messageOf(error)}`, error)));
    this.#exited = new Promise((resolve) =>
      worker.on("exit", (code) => {
        this.#fail(threadFailed(this.#closing === undefined ? `it ended with code ${code}` : "it was closed"));
        resolve();
      }),
    );
  }

  begin(): SnapshotWriter {
    const id = this.#nextId++;
    const port: WriterPort = {
      post: (message) => this.#post(message),
      publish: (label) => this.#call("publish", { writer: id, label }),
      done: () => this.#writers.delete(id),
      failure: () => this.#failure,
    };
    const writer = new ThreadWriter(id, port);
    this.#writers.set(id, writer);
    return writer;
  }

  list(region: string, shard: string): Promise<SnapshotInfo[]> {
    return this.#call("list", { region, shard });
  }

  async *open(info: SnapshotInfo): AsyncGenerator<string> {
    const read = (index: number) => this.#call("text", { info, index });
    for await (const { utf8 } of readInOrder(info, read, READ_AHEAD)) {
      yield textOf(utf8);
      freed(utf8);
    }
  }

  chunks(info: SnapshotInfo): AsyncGenerator<EncodedChunk> {
    return readInOrder(info, (index) => this.#call("chunk", { info, index }), READ_AHEAD);
  }

  verify(info: SnapshotInfo): Promise<void> {
    return this.#call("verify", { info });
  }

  remove(info: SnapshotInfo): Promise<void> {
    return this.#call("remove", { info });
  }

  prune(newest: SnapshotLabel, keep: number): Promise<number> {
    return this.#call("prune", { newest, keep });
  }

  /** Lets the worker finish what it has at hand, at most for `CLOSE_TIMEOUT_MS`; what is not published is aborted. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends the worker at once, wherever it is; as a crash does. */
  async kill(): Promise<void> {
    await this.#worker.terminate();
  }

  async #close(): Promise<void> {
    if (this.#failure === undefined) {
      for (const writer of [...this.#writers.values()]) writer.abort();
      // Its exit tells the end; a worker that dies meanwhile has ended too.
      this.#call("close", {}).catch(() => {});
      const timer = setTimeout(() => void this.#worker.terminate(), CLOSE_TIMEOUT_MS);
      await this.#exited;
      clearTimeout(timer);
    }
    await this.#exited;
  }

  #call<Name extends CallName>(name: Name, ask: Calls[Name]["ask"]): Promise<Calls[Name]["answer"]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#failure !== undefined) reject(this.#failure);
    else {
      const id = this.#nextId++;
      this.#calls.set(id, { resolve, reject });
      this.#post({ kind: "call", id, call: { name, ask } as Call });
    }
    return promise as Promise<Calls[Name]["answer"]>;
  }

  #post(message: ToWorker): void {
    if (this.#failure === undefined) this.#worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    if (message.kind === "taken") {
      const error = message.error === undefined ? undefined : operatingError(message.error);
      this.#writers.get(message.writer)?.taken(error);
      return;
    }
    const id = "id" in message ? message.id : 0;
    const waiting = this.#calls.get(id);
    this.#calls.delete(id);
    if ("error" in message) waiting?.reject(operatingError(message.error));
    else waiting?.resolve("value" in message ? message.value : undefined);
  }

  /** The first reason stays: the exit that follows an error says less. */
  #fail(error: OperatingError): void {
    this.#failure ??= error;
    for (const waiting of this.#calls.values()) waiting.reject(this.#failure);
    this.#calls.clear();
    for (const writer of [...this.#writers.values()]) writer.fail(this.#failure);
  }
}

interface WriterPort {
  post(message: ToWorker): void;
  publish(label: SnapshotLabel): Promise<SnapshotInfo>;
  done(): void;
  failure(): OperatingError | undefined;
}

/** Invariant: at most `IN_FLIGHT_MAX` messages that the worker has not taken, besides those of one long text. */
class ThreadWriter implements SnapshotWriter {
  readonly #id: number;
  readonly #port: WriterPort;
  #pending = "";
  #inFlight = 0;
  #isPublished = false;
  #failure: OperatingError | undefined;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(id: number, port: WriterPort) {
    this.#id = id;
    this.#port = port;
    this.#failure = port.failure();
  }

  write(text: string): Promise<void> | void {
    assert(!this.#isPublished, "a snapshot that was published takes nothing more");
    this.#pending += text;
    if (this.#pending.length < HANDOVER_LENGTH && this.#failure === undefined) return;
    return this.#handOver();
  }

  add(chunk: EncodedChunk): Promise<void> | void {
    assert(!this.#isPublished, "a snapshot that was published takes nothing more");
    return this.#send({ kind: "chunk", writer: this.#id, chunk });
  }

  async publish(label: SnapshotLabel): Promise<SnapshotInfo> {
    assertLabel(label);
    assert(!this.#isPublished, "a snapshot is published once");
    try {
      if (this.#pending !== "") await this.#handOver();
      if (this.#failure !== undefined) throw this.#failure;
      this.#isPublished = true;
      return await this.#port.publish(label);
    } catch (error) {
      this.#port.post({ kind: "abort", writer: this.#id });
      throw error;
    } finally {
      this.#port.done();
    }
  }

  abort(): void {
    if (this.#isPublished) return;
    this.#pending = "";
    this.#port.post({ kind: "abort", writer: this.#id });
    this.#port.done();
    this.fail(aborted());
  }

  /** The worker has taken one message, or says why it cannot take any. */
  taken(error: OperatingError | undefined): void {
    this.#inFlight -= 1;
    if (error !== undefined) this.fail(error);
    else if (this.#inFlight < IN_FLIGHT_MAX) this.#giveRoom();
  }

  fail(error: OperatingError): void {
    this.#failure ??= error;
    this.#room?.reject(this.#failure);
    this.#room = undefined;
  }

  #handOver(): Promise<void> | void {
    const text = this.#pending;
    this.#pending = "";
    return this.#send({ kind: "text", writer: this.#id, text });
  }

  #send(message: ToWorker): Promise<void> | void {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#port.post(message);
    this.#inFlight += 1;
    if (this.#inFlight < IN_FLIGHT_MAX) return;
    this.#room ??= roomLater();
    return this.#room.promise;
  }

  #giveRoom(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }
}

/** Its failure is also the writer's: nobody has to be waiting for it at that moment. */
function roomLater(): PromiseWithResolvers<void> {
  const room = Promise.withResolvers<void>();
  room.promise.catch(() => {});
  return room;
}

/** Beside this file, and with its ending: `.ts` in a checkout, `.js` in the package. */
function workerFile(): URL {
  return new URL(`./snapshot-worker${extname(new URL(import.meta.url).pathname)}`, import.meta.url);
}

function threadFailed(reason: string, cause?: unknown): OperatingError {
  return new OperatingError("snapshot_thread_failed", `the snapshot thread cannot go on: ${reason}; open it again`, {
    definite: false,
    ...(cause === undefined ? {} : { cause }),
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
