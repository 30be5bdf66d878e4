/** Brings events to a replication hub over gRPC. The hub keeps the place with the events, so that none is there twice. */
import assert from "node:assert/strict";
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import { Checkpoint } from "../../../contracts/followers.ts";
import { pieceOf } from "../delivery.ts";
import { errorOf } from "../grpc-errors.ts";
import { type ReplicationContract, replicationContract } from "../proto-contract.ts";
import { checkpointFromProto, checkpointToProto, eventToProto, type ProtoMessage } from "../proto-messages.ts";
import type { Sink, SinkBatch, SinkDeps, SinkScope } from "../sink.ts";
import { eventRefused } from "./event-refused.ts";
import type { GrpcOptions } from "./grpc-kind.ts";
import { readOptionFile } from "./option-file.ts";
import { placeIn } from "./places.ts";
import { readSecret } from "./secret-source.ts";

const KIB = 1024;
/** Answers are small. Bytes. */
const ANSWER_BYTES_MAX = KIB * KIB;

type Stream = ClientDuplexStream<Buffer, ProtoMessage>;
interface Waiting {
  resolve(answer: ProtoMessage): void;
  reject(error: Error): void;
}

export class GrpcSink implements Sink {
  readonly #options: GrpcOptions;
  readonly #deps: SinkDeps;
  #contract: ReplicationContract | undefined;
  #client: Client | undefined;
  #metadata = new Metadata();
  #scope: SinkScope | undefined;
  /** The call that batches go through; undefined before the first one, and after an error. */
  #stream: Stream | undefined;
  /** The one message that is under way. */
  #waiting: Waiting | undefined;

  constructor(options: GrpcOptions, deps: SinkDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Asks the hub for the place. A hub that has none begins at the one that is known outside.
   * Throws: OperatingError `secret_unusable`, `option_file_unusable`, `sink_foreign_log`, `hub_unusable`, `unauthenticated` (definite); `hub_unavailable`.
   */
  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    const { address, bearer } = this.#options;
    if (bearer !== undefined) this.#metadata.set("authorization", `Bearer ${readSecret(bearer)}`);
    this.#contract = replicationContract();
    this.#scope = scope;
    this.#client = new Client(address, credentialsOf(this.#options), {
      "grpc.max_receive_message_length": ANSWER_BYTES_MAX,
      "grpc.max_send_message_length": -1,
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 5_000,
      "grpc.enable_http_proxy": 0,
      "grpc.service_config_disable_resolution": 1,
    });
    const own = await this.#ask("position", scopeToProto(scope));
    if (own !== undefined || checkpoint === undefined) return own;
    return checkpoint.sequence === 0 ? placeIn(checkpoint) : this.#seek(scope, checkpoint);
  }

  /** Throws: what the hub tells (`sink_gap`, `effect_conflict`, `event_refused`, `store_…`), `hub_unavailable`, `hub_timeout`; the reason of `signal`. */
  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    for (const part of this.#parts(batch)) await this.#exchange(part, signal);
  }

  async seek(to: Checkpoint): Promise<void> {
    assert(this.#scope !== undefined, "seek comes after open");
    await this.#seek(this.#scope, to);
  }

  async close(): Promise<void> {
    this.#stream?.end();
    this.#stream = undefined;
    this.#client?.close();
  }

  /** The batch as messages that are small enough. */
  #parts(batch: SinkBatch): readonly Buffer[] {
    const { scope, after, upTo, events } = batch;
    const { messageBytesMax: bytesMax } = this.#options;
    const { replicate } = this.#contract ?? replicationContract();
    const bytes = replicate.requestSerialize({
      ...{ scope: scopeToProto(scope), after: checkpointToProto(after), upTo: checkpointToProto(upTo) },
      events: events.map(eventToProto),
    });
    if (bytes.byteLength <= bytesMax) return [bytes];
    const [first] = events;
    assert(first !== undefined, "a batch without events is small");
    const middle = events.length >> 1;
    if (middle === 0)
      throw eventRefused(scope, first, `with its batch it has ${bytes.byteLength} bytes, ${bytesMax} may be sent`);
    return [events.slice(0, middle), events.slice(middle)].flatMap((half) => this.#parts(pieceOf(batch, half)));
  }

  /** Sends one message and waits for its acknowledgement. */
  #exchange(bytes: Buffer, signal: AbortSignal): Promise<ProtoMessage> {
    const { clock } = this.#deps;
    const { timeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      assert(this.#waiting === undefined, "one batch at a time");
      const end = (): void => {
        clock.clearTimer(timer);
        signal.removeEventListener("abort", onAbort);
        this.#waiting = undefined;
      };
      const onAbort = (): void => this.#drop(signal.reason);
      const timer = clock.setTimer(timeoutMs, () =>
        this.#drop(this.#error("hub_timeout", `has not acknowledged within ${timeoutMs} ms`)),
      );
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting = {
        resolve: (answer) => {
          end();
          resolve(answer);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      };
      this.#stream ??= this.#openStream();
      this.#stream.write(bytes);
    });
  }

  #openStream(): Stream {
    assert(this.#client !== undefined && this.#contract !== undefined, "apply comes after open");
    const { path, responseDeserialize } = this.#contract.replicate;
    const stream = this.#client.makeBidiStreamRequest(
      path,
      (bytes: Buffer) => bytes,
      responseDeserialize,
      this.#metadata,
    );
    stream.on("data", (answer: ProtoMessage) => {
      if (stream === this.#stream) this.#waiting?.resolve(answer);
    });
    stream.on("error", (error: ServiceError) => this.#ended(stream, errorOf(error, this.#options.address)));
    stream.on("end", () => this.#ended(stream, this.#error("hub_unavailable", "has ended the call")));
    return stream;
  }

  /** The next batch opens another call; who waits for an acknowledgement learns why it does not come. */
  #ended(stream: Stream, error: OperatingError): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    this.#waiting?.reject(error);
  }

  #drop(error: Error): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    this.#waiting?.reject(error);
  }

  async #seek(scope: SinkScope, to: Checkpoint): Promise<Checkpoint> {
    const place = await this.#ask("seek", { scope: scopeToProto(scope), to: checkpointToProto(to) });
    return place ?? to;
  }

  /** Asks for a place; undefined when the hub has none. */
  #ask(name: "position" | "seek", request: ProtoMessage): Promise<Checkpoint | undefined> {
    assert(this.#client !== undefined && this.#contract !== undefined, "the sink is open");
    const { path, requestSerialize, responseDeserialize } = this.#contract[name];
    const client = this.#client;
    const deadline = Date.now() + this.#options.timeoutMs;
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        this.#metadata,
        { deadline },
        (error, answer) => {
          if (error !== null) return reject(errorOf(error, this.#options.address));
          const place = Checkpoint.safeParse(checkpointFromProto(answer ?? {}));
          if (place.success) resolve(place.data);
          else if (answer?.["logId"] === undefined) resolve(undefined);
          else reject(this.#error("hub_unavailable", `tells a place that is none: ${z.prettifyError(place.error)}`));
        },
      );
    });
  }

  #error(code: string, message: string): OperatingError {
    const { address } = this.#options;
    return new OperatingError(code, `the hub ${address} ${message}`, { definite: false, details: { address } });
  }
}

const scopeToProto = ({ sink, region, shard, logId }: SinkScope): ProtoMessage => ({ sink, region, shard, logId });

function credentialsOf({ tls, plaintext }: GrpcOptions): ChannelCredentials {
  if (plaintext) return credentials.createInsecure();
  const read = (path: string | undefined): Buffer | null => (path === undefined ? null : readOptionFile(path));
  return credentials.createSsl(read(tls.caFile), read(tls.keyFile), read(tls.certFile));
}
