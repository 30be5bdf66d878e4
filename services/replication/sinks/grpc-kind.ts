/** The kind `grpc` of sinks: its options. gRPC itself is loaded when such a sink is opened. */
import { z } from "zod";
import { isObject } from "../option-problems.ts";
import type { SinkKind } from "../sink.ts";
import { lazySink } from "./lazy-sink.ts";
import { SecretSource } from "./secret-source.ts";

const KIB = 1024;

const GrpcOptions = z
  .strictObject({
    address: z
      .string()
      .regex(/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/)
      .describe("Host and port of the hub."),
    tls: z
      .strictObject({
        caFile: z
          .string()
          .min(1)
          .optional()
          .describe("PEM file of the authorities to trust; absent: those that Node.js trusts."),
        certFile: z.string().min(1).optional().describe("PEM file with this client's certificate; with `keyFile`."),
        keyFile: z.string().min(1).optional().describe("PEM file with the key of `certFile`."),
      })
      .default({}),
    plaintext: z.boolean().default(false).describe("Whether to speak without TLS."),
    bearer: SecretSource.optional().describe("Token that the hub asks for."),
    timeoutMs: z
      .int()
      .min(1)
      .max(600_000)
      .default(30_000)
      .describe("How long the hub may take for one message, or to tell the place. ms."),
    messageBytesMax: z
      .int()
      .min(KIB)
      .max(64 * KIB * KIB)
      .default(KIB * KIB)
      .describe(
        "Largest message that is sent; a larger batch goes in several. At most the hub's `messageBytesMax`. Bytes.",
      ),
  })
  .superRefine(
    ({ tls, plaintext }, context) => {
      const problem = (message: string): void => context.addIssue({ code: "custom", path: ["tls"], message });
      if (!isObject({ value: tls })) return;
      if ((tls.certFile === undefined) !== (tls.keyFile === undefined)) problem("needs certFile and keyFile together");
      if (plaintext && Object.keys(tls).length > 0) problem("is given, and plaintext is set");
    },
    { when: isObject },
  );
export type GrpcOptions = Readonly<z.infer<typeof GrpcOptions>>;

export const grpcKind: SinkKind<GrpcOptions> = {
  kind: "grpc",
  summary: "Brings events to a replication hub over gRPC, which stores them before it acknowledges.",
  guarantee: "exactly once",
  options: GrpcOptions,
  create: (options, deps) => lazySink(async () => new (await import("./grpc-sink.ts")).GrpcSink(options, deps)),
};
