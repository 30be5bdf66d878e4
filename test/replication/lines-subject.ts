/** A JSON-lines folder as a subject of the suite, with what a test breaks of it. */
import { appendFile, type FileHandle, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { Clock, Closable, Reporter } from "../../contracts/ports.ts";
import type { SinkScope } from "../../services/replication/sink.ts";
import { JsonLinesSink, jsonLinesKind } from "../../services/replication/sinks/json-lines-sink.ts";
import { FILE_HOST, type FileHost } from "../../services/replication/sinks/sink-files.ts";
import { createClock } from "../../services/runtime/clock.ts";
import type { SinkUnderTest } from "../../services/testing/mod.ts";
import { FAST_FOLDER } from "./fast-folder.ts";

export const SCOPE: SinkScope = { sink: "files", region: "eu", shard: "orders", logId: "the-log" };

/** The calls of a file handle that can be made to fail. */
type FaultyCall = "write" | "datasync" | "sync" | "truncate";

/** What the operating system does for one process; after its death nothing more. */
class ProcessHost implements FileHost {
  readonly #faults: ReadonlyMap<FaultyCall, string>;
  readonly #giveBack: (() => Promise<void>)[] = [];
  #isDead = false;

  constructor(faults: ReadonlyMap<FaultyCall, string>) {
    this.#faults = faults;
  }

  async open(path: string, flags: string): Promise<FileHandle> {
    this.#requireAlive();
    const handle = await FILE_HOST.open(path, flags);
    this.#giveBack.push(() => handle.close());
    return new Proxy(handle, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        return (...given: unknown[]) => this.#failure(String(name)) ?? value.apply(target, given);
      },
    });
  }

  rename(from: string, to: string): Promise<void> {
    this.#requireAlive();
    return FILE_HOST.rename(from, to);
  }

  remove(path: string): Promise<void> {
    this.#requireAlive();
    return FILE_HOST.remove(path);
  }

  own(path: string): Closable | undefined {
    const owned = FILE_HOST.own(path);
    if (owned !== undefined) this.#giveBack.push(async () => owned.close());
    return owned;
  }

  /** The timers of a dead process never fire. */
  clockFrom(clock: Clock): Clock {
    return {
      wallMs: () => clock.wallMs(),
      monotonicMs: () => clock.monotonicMs(),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, () => (this.#isDead ? undefined : callback())),
      clearTimer: (timer) => clock.clearTimer(timer),
      defer: (callback) => clock.defer(callback),
    };
  }

  async die(): Promise<void> {
    this.#isDead = true;
    for (const giveBack of this.#giveBack.splice(0)) await giveBack();
  }

  #failure(call: string): Promise<never> | undefined {
    const errno = this.#faults.get(call as FaultyCall);
    if (errno === undefined) return undefined;
    return Promise.reject(Object.assign(new Error(`${errno}: planted, ${call}`), { code: errno, errno: -1 }));
  }

  #requireAlive(): void {
    if (this.#isDead) throw new Error("a process that is dead does nothing");
  }
}

/** A folder, and the sinks of any number of processes on it. */
export class LinesBed {
  readonly root: string;
  readonly reports: { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[] = [];
  /** By call: the errno that it fails with. */
  readonly faults = new Map<FaultyCall, string>();
  readonly #hosts: ProcessHost[] = [];
  readonly #sinks: JsonLinesSink[] = [];

  static async make(): Promise<LinesBed> {
    return new LinesBed(await mkdtemp(join(FAST_FOLDER, "lines-")));
  }

  private constructor(root: string) {
    this.root = root;
  }

  get folder(): string {
    return join(this.root, SCOPE.region, SCOPE.shard);
  }

  sink(options: Readonly<Record<string, unknown>> = {}, clock: Clock = createClock()): JsonLinesSink {
    const tell = (event: string, fields: Readonly<Record<string, unknown>> = {}): void =>
      void this.reports.push({ event, fields });
    const reporter: Reporter = { info: tell, warn: tell, error: tell };
    const parsed = jsonLinesKind.options.parse({ folder: this.root, ...options });
    const host = new ProcessHost(this.faults);
    const sink = new JsonLinesSink(parsed, { reporter, clock: host.clockFrom(clock) }, host);
    this.#hosts.push(host);
    this.#sinks.push(sink);
    return sink;
  }

  /** Ends all processes. */
  async crash(): Promise<void> {
    for (const host of this.#hosts.splice(0)) await host.die();
  }

  /** Data files by name, as they sort. */
  async files(): Promise<string[]> {
    const names = await readdir(this.folder);
    return names.filter((name) => /\.jsonl(\.gz)?$/.test(name)).sort();
  }

  async events(): Promise<ReplicationEvent[]> {
    const events: ReplicationEvent[] = [];
    const names = await this.files();
    for (const name of names) {
      if (names.includes(`${name}.gz`)) continue;
      const text = await this.#text(name);
      if (text !== "" && !text.endsWith("\n")) throw new Error(`${name} ends with a torn line`);
      for (const line of text.split("\n").slice(0, -1)) events.push(JSON.parse(line));
    }
    return events;
  }

  /** A file may be compressed just when it is to be read. */
  async #text(name: string): Promise<string> {
    const path = join(this.folder, name);
    const text = name.endsWith(".gz") ? undefined : await readFile(path, "utf8").catch(() => undefined);
    return text ?? gunzipSync(await readFile(name.endsWith(".gz") ? path : `${path}.gz`)).toString("utf8");
  }

  async tearTail(): Promise<void> {
    const newest = (await this.files()).at(-1) ?? "";
    await appendFile(join(this.folder, newest), '{"schemaVersion":1,"sequenceNumber":99,"time');
  }

  async close(): Promise<void> {
    this.faults.clear();
    for (const sink of this.#sinks) await sink.close().catch(() => undefined);
    await this.crash();
    await rm(this.root, { recursive: true, force: true });
  }
}

export async function linesSubject(options: Readonly<Record<string, unknown>>): Promise<SinkUnderTest> {
  const bed = await LinesBed.make();
  return {
    make: () => bed.sink(options),
    scope: SCOPE,
    guarantee: jsonLinesKind.guarantee,
    delivered: async () =>
      (await bed.events()).map(({ sequenceNumber, resourceLeaseItemPayload: item }) => ({
        sequenceNumber,
        ...(item?.body === undefined ? {} : { body: item.body }),
      })),
    crash: () => bed.crash(),
    tearTail: () => bed.tearTail(),
    interrupt: async () => void bed.faults.set("write", "ENOSPC"),
    restore: async () => bed.faults.clear(),
    close: () => bed.close(),
  };
}
