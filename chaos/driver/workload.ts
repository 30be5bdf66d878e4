/** What the clients and workers of a run share: raw requests, each recorded before it is sent and when it has ended, and their life under the driver. */
import { join } from "node:path";
import { errors, type Msg, type NatsConnection } from "@nats-io/transport-node";
import type { ErrorBody } from "../../contracts/errors.ts";
import type { Beat, ReplyOf } from "../../contracts/replies.ts";
import { beatSubscription, rpcSubject } from "../../contracts/subjects.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { type OperationFunction, RUN_FILES, typeOfReply } from "../operations.ts";
import { Recorder } from "../recorder.ts";
import type { Feature } from "./features.ts";

/** Given to a workload process as JSON in its one argument. */
export interface WorkloadSettings {
  readonly run: string;
  /** Of the run's evidence. */
  readonly folder: string;
  /** Unique in the run: a process that is started again has another one. */
  readonly name: string;
  readonly principal: string;
  readonly shard: string;
  readonly natsUrls: readonly string[];
  readonly seed: number;
  readonly features: readonly Feature[];
}

/** What the driver says to a workload process. `settle`: begin nothing new and bring everything to its end. `stop`: end when nothing is under way. */
export interface WorkloadOrder {
  readonly order: "settle" | "stop";
}

/** The line by which a workload process says that it has begun. */
export const WORKLOAD_READY = "workload ready";
/** Length of the leases that workers ask for. ms. */
export const LEASE_MS = 4_000;
/** How long a leader may take for one request, and how much longer its answer is waited for. ms. */
const TIMEOUT_MS = 2_500;
const MARGIN_MS = 500;

type RecordedVerb = Exclude<OperationFunction, "fenced_write">;
type Outcome<V extends RecordedVerb> =
  | { readonly type: "ok"; readonly reply: ReplyOf<V> }
  | { readonly type: "fail"; readonly code: string }
  | { readonly type: "info" };
export type OutcomeOf<V extends RecordedVerb> = Outcome<V>;

/** Has one request under way at most; the recorder checks it. */
export interface Caller {
  readonly name: string;
  /** Waits to the end also when another leader has begun its term meanwhile: a deposed one that wakes up must find somebody to answer. */
  readonly isPatient: boolean;
}

/** Invariant: `#leaving` holds what ends the waiting of those requests that are not patient. */
class RecordedCaller {
  readonly recorder: Recorder;
  readonly #connection: NatsConnection;
  readonly #settings: WorkloadSettings;
  readonly #leaving = new Set<() => void>();
  #knownSequence = 0;
  #term = 0;

  constructor(connection: NatsConnection, settings: WorkloadSettings) {
    const { folder, name, run, shard } = settings;
    this.#connection = connection;
    this.#settings = settings;
    this.recorder = new Recorder(join(folder, `${RUN_FILES.operations}-${name}.jsonl`), run);
    connection.subscribe(beatSubscription(shard), {
      callback: (error, message) => {
        if (error === null) this.#heard(message.json<Beat>().term);
      },
    });
  }

  /** The highest that any answer has cited: no later read with it as `minSequence` may show less. */
  get knownSequence(): number {
    return this.#knownSequence;
  }

  /** Sends one request, once. */
  async call<V extends RecordedVerb>(
    { name: caller, isPatient }: Caller,
    f: V,
    request: Readonly<Record<string, unknown>>,
  ): Promise<Outcome<V>> {
    const { principal } = this.#settings;
    const args = { timeoutMs: TIMEOUT_MS, ...request };
    const operation = this.recorder.invoke({ caller, principal, f, args });
    let reply: ReplyOf<V> & { readonly error?: ErrorBody };
    try {
      const message = await this.#answer(f, args, isPatient);
      reply = message.json();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (isNobodyThere(error)) {
        this.recorder.fail(operation, { code: "no_responders", definite: true });
        return { type: "fail", code: "no_responders" };
      }
      this.recorder.info(operation, { code: error.name, definite: false });
      return { type: "info" };
    }
    const type = typeOfReply(reply);
    if (type === "ok") {
      this.recorder.ok(operation, reply);
      this.#knownSequence = Math.max(this.#knownSequence, reply.sequence);
      return { type, reply };
    }
    const { code = "internal", definite = false } = reply.error ?? {};
    if (type === "info") {
      this.recorder.info(operation, { code, definite });
      return { type };
    }
    this.recorder.fail(operation, { code, definite });
    return { type, code };
  }

  #answer(f: RecordedVerb, args: Readonly<Record<string, unknown>>, isPatient: boolean): Promise<Msg> {
    const { principal, shard } = this.#settings;
    const timeout = TIMEOUT_MS + Number(args["waitMs"] ?? 0) + MARGIN_MS;
    const answer = this.#connection.request(rpcSubject(shard, f, principal), JSON.stringify(args), { timeout });
    if (isPatient) return answer;
    return new Promise((resolve, reject) => {
      const leave = (): void => reject(new LeaderChangedError("another leader has begun its term"));
      this.#leaving.add(leave);
      answer.then(resolve, reject).finally(() => this.#leaving.delete(leave));
    });
  }

  #heard(term: number): void {
    if (term <= this.#term) return;
    this.#term = term;
    for (const leave of [...this.#leaving]) leave();
  }
}

class LeaderChangedError extends Error {
  override readonly name = "LeaderChanged";
}

/** The broker's own word that nobody has got the request. */
function isNobodyThere(error: Error): boolean {
  return error instanceof errors.NoRespondersError || (error instanceof errors.RequestError && error.isNoResponders());
}

/** Runs a workload process: connects, works until it is told to end, closes its history. Dies with the driver. */
export async function runWorkload(work: (parts: WorkloadParts) => Promise<void>): Promise<void> {
  const orphaned = (): never => process.exit(1);
  process.on("disconnect", orphaned);
  const settings = JSON.parse(process.argv[2] ?? "{}") as WorkloadSettings;
  const orders = new Set<WorkloadOrder["order"]>();
  process.on("message", (message: WorkloadOrder) => void orders.add(message.order));
  const connection = await connectNats({ servers: settings.natsUrls, name: settings.name });
  const caller = new RecordedCaller(connection, settings);
  process.stdout.write(`${WORKLOAD_READY}\n`);
  await work({
    settings,
    caller,
    isSettling: () => orders.size > 0,
    isStopping: () => orders.has("stop"),
  });
  caller.recorder.close();
  await connection.close();
  process.off("disconnect", orphaned);
  process.disconnect();
}

export interface WorkloadParts {
  readonly settings: WorkloadSettings;
  readonly caller: RecordedCaller;
  readonly isSettling: () => boolean;
  readonly isStopping: () => boolean;
}
