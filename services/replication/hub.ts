/**
 * The replication hub: a gRPC server that takes the events of many shards, stores them, and only then acknowledges. Those who send are sinks of the kind
 * `grpc`, ours or anybody's that speak `contracts/schemas/replication.proto`.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";
import { statusOf } from "./grpc-errors.ts";
import { checkedBatch, checkedPlace, checkedScope } from "./hub-batch.ts";
import { HubStore } from "./hub-store.ts";
import { isObject, optionProblems } from "./option-problems.ts";
import { replicationContract } from "./proto-contract.ts";
import { checkpointToProto, type ProtoMessage } from "./proto-messages.ts";
import { readOptionFile } from "./sinks/option-file.ts";
import { readSecret, SecretSource } from "./sinks/secret-source.ts";

const KIB = 1024;
/** How long calls that are under way may go on when the hub stops. ms. */
const STOP_MS = 2_000;

const LISTEN = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/;

const HubOptions = z
  .strictObject({
    listen: z.string().regex(LISTEN).describe("Address and port to listen on; port 0 takes a free one."),
    path: z.string().min(1).describe("SQLite file of the hub; its folder must exist."),
    durability: z
      .enum(["full", "normal"])
      .default("full")
      .describe("`full`: what is acknowledged survives a loss of power. `normal`: it survives the end of the process."),
    tls: z
      .strictObject({
        certFile: z.string().min(1).describe("PEM file with the certificate chain."),
        keyFile: z.string().min(1).describe("PEM file with the key."),
        clientCaFile: z
          .string()
          .min(1)
          .optional()
          .describe("PEM file with the authorities of clients; with it, a client without a certificate is refused."),
      })
      .optional(),
    allowPlaintext: z.boolean().default(false).describe("Without `tls`: whether to speak without it, beyond loopback."),
    tokens: z
      .array(SecretSource)
      .max(2)
      .default([])
      .describe(
        "Bearer tokens that clients show: `env` or `file` of each, at least 16 characters; two while one is being changed.",
      ),
    allowAnonymous: z
      .boolean()
      .default(false)
      .describe("Without `tokens`: whether anybody may write, beyond loopback."),
    messageBytesMax: z
      .int()
      .min(KIB)
      .max(64 * KIB * KIB)
      .default(4 * KIB * KIB)
      .describe("Largest message that is taken. Bytes."),
    streamsMax: z.int().min(1).max(10_000).default(100).describe("Calls at once on one connection."),
  })
  .superRefine(
    ({ listen, tls, tokens, allowPlaintext, allowAnonymous }, context) => {
      // One that is none is told by itself.
      const isLoopback = !LISTEN.test(String(listen)) || isLoopbackHost(listen);
      const problem = (path: string, message: string): void =>
        context.addIssue({ code: "custom", path: [path], message });
      if (tls === undefined && !allowPlaintext && !isLoopback)
        problem("tls", "is missing; beyond loopback set it, or allowPlaintext");
      if (tokens?.length === 0 && tls?.clientCaFile === undefined && !allowAnonymous && !isLoopback)
        problem("tokens", "are missing; beyond loopback set them, tls.clientCaFile, or allowAnonymous");
    },
    { when: isObject },
  );
export type HubOptions = z.input<typeof HubOptions>;
type Settings = z.output<typeof HubOptions>;

type Stream = ServerDuplexStream<ProtoMessage, ProtoMessage>;
type Unary = (call: ServerUnaryCall<ProtoMessage, ProtoMessage>, callback: sendUnaryData<ProtoMessage>) => void;

const TOKEN_LENGTH_MIN = 16;

export class ReplicationHub {
  readonly #store: HubStore;
  readonly #reporter: Reporter;
  readonly #server: Server;
  /** SHA-256 of each token, so that all comparisons are of one length. */
  readonly #tokens: readonly Buffer[];
  readonly #streams = new Set<Stream>();
  #port = 0;

  /**
   * Opens the file and listens.
   * Throws: OperatingError `invalid_options`, `secret_unusable`, `option_file_unusable`, `hub_address_unusable`, and as `openSqlite`; definite.
   */
  static async start(options: HubOptions, reporter: Reporter): Promise<ReplicationHub> {
    const parsed = HubOptions.safeParse(options, { reportInput: true });
    if (!parsed.success) throw invalidOptions(optionProblems(parsed.error));
    const settings = parsed.data;
    const credentials = credentialsOf(settings);
    const tokens = settings.tokens.map((source) => digest(readSecret(source, TOKEN_LENGTH_MIN)));
    const store = HubStore.open(settings.path, { durability: settings.durability });
    const hub = new ReplicationHub(store, reporter, tokens, settings);
    try {
      hub.#port = await bound(hub.#server, settings.listen, credentials);
      return hub;
    } catch (error) {
      await hub.stop();
      throw error;
    }
  }

  private constructor(store: HubStore, reporter: Reporter, tokens: readonly Buffer[], settings: Settings) {
    this.#store = store;
    this.#reporter = reporter;
    this.#tokens = tokens;
    this.#server = new Server({
      "grpc.max_receive_message_length": settings.messageBytesMax,
      "grpc.max_concurrent_streams": settings.streamsMax,
    });
    this.#server.addService(replicationContract().service, {
      Replicate: (stream: Stream) => this.#replicate(stream),
      Position: this.#unary((request) => this.#store.position(checkedScope(request))),
      Seek: this.#unary((request) => {
        const scope = checkedScope(request["scope"]);
        const to = checkedPlace("to", request["to"], scope);
        this.#reporter.info("hub_place_moved", { ...scope, sequence: to.sequence });
        return this.#store.seek(scope, to);
      }),
    });
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#port;
  }

  /** Ends all calls, then closes the file. Stopping twice is allowed. */
  async stop(): Promise<void> {
    const stopping = new OperatingError("shutting_down", "the hub stops", { definite: false });
    for (const stream of this.#streams) this.#refuse(stream, stopping);
    await new Promise<void>((resolve) => {
      const force = setTimeout(() => this.#server.forceShutdown(), STOP_MS);
      this.#server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
    });
    this.#store.close();
  }

  /** One batch after the other: what is written blocks, so nothing is read meanwhile, and nothing has to wait in memory. */
  #replicate(stream: Stream): void {
    const problem = this.#unauthenticated(stream.metadata);
    if (problem !== undefined) return void stream.emit("error", statusOf(problem));
    this.#streams.add(stream);
    stream.on("data", (message: ProtoMessage) => {
      if (!this.#streams.has(stream)) return;
      try {
        stream.write({ place: checkpointToProto(this.#store.append(checkedBatch(message))) });
      } catch (error) {
        this.#refuse(stream, this.#told(error));
      }
    });
    stream.on("end", () => {
      if (this.#streams.delete(stream)) stream.end();
    });
    for (const event of ["cancelled", "close"]) stream.on(event, () => this.#streams.delete(stream));
  }

  /** Ends the call; whatever it sends from here on is not looked at. */
  #refuse(stream: Stream, error: OperatingError): void {
    if (this.#streams.delete(stream)) stream.emit("error", statusOf(error));
  }

  #unary(answer: (request: ProtoMessage) => Parameters<typeof checkpointToProto>[0] | undefined): Unary {
    return (call, callback) => {
      const problem = this.#unauthenticated(call.metadata);
      if (problem !== undefined) return callback(statusOf(problem));
      try {
        const place = answer(call.request);
        callback(null, place === undefined ? {} : checkpointToProto(place));
      } catch (error) {
        callback(statusOf(this.#told(error)));
      }
    };
  }

  #unauthenticated(metadata: Metadata): OperatingError | undefined {
    if (this.#tokens.length === 0) return undefined;
    const shown = String(metadata.get("authorization")[0] ?? "");
    const given = digest(shown.replace(/^Bearer /i, ""));
    if (this.#tokens.some((token) => timingSafeEqual(token, given))) return undefined;
    const message = "the call has no bearer token that this hub knows";
    return new OperatingError("unauthenticated", message, { definite: true });
  }

  /** What the other side learns of an error. A defect is reported here, and nothing of it is told. */
  #told(error: unknown): OperatingError {
    const isTold = error instanceof OperatingError;
    if (!isTold || !error.code.startsWith("sink_")) this.#reporter.error("hub_refused", { error });
    return isTold ? error : new OperatingError("internal", "a defect of the hub", { definite: false, cause: error });
  }
}

function invalidOptions(problems: readonly string[]): OperatingError {
  const message = `the options of the hub cannot be used:\n  ${problems.join("\n  ")}`;
  return new OperatingError("invalid_options", message, { definite: true, details: { problems } });
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

function isLoopbackHost(listen: string): boolean {
  const host = listen.slice(0, listen.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

function credentialsOf({ tls }: Settings): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const clientCa = tls.clientCaFile === undefined ? null : readOptionFile(tls.clientCaFile);
  const pair = { private_key: readOptionFile(tls.keyFile), cert_chain: readOptionFile(tls.certFile) };
  return ServerCredentials.createSsl(clientCa, [pair], clientCa !== null);
}

function bound(server: Server, listen: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(listen, credentials, (error, port) => {
      if (error === null) return resolve(port);
      const message = `the hub cannot listen on ${listen}: ${error.message}`;
      reject(new OperatingError("hub_address_unusable", message, { definite: true, cause: error }));
    });
  });
}
