/** `omnirelay hub`: the replication hub, where sinks of the kind `grpc` of any number of replicators bring their events. */
import { once } from "node:events";
import { Command, Option } from "commander";
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import type { HubOptions } from "../../replication/hub.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { createLogger } from "../../runtime/logger.ts";
import { integer, jsonOption, parsedBy } from "../arguments.ts";
import { Interruption } from "../interruption.ts";
import type { Done } from "../program.ts";
import type { Terminal } from "../terminal.ts";

interface HubCommandOptions {
  readonly listen: string;
  readonly path: string;
  readonly durability: "full" | "normal";
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsClientCa?: string;
  readonly tokenEnv: readonly string[];
  readonly tokenFile: readonly string[];
  readonly allowPlaintext: boolean;
  readonly allowAnonymous: boolean;
  readonly messageBytesMax: number;
  readonly streamsMax: number;
  readonly json: boolean;
}

const KIB = 1024;
const EXAMPLES = `
A batch and the place of its sink are stored in one transaction before they are acknowledged. Events are rows of hub_event. Beyond loopback it wants a
certificate, and tokens (at least 16 characters; two while one is being changed) or --tls-client-ca. A signal ends it in order. What it logs goes to standard error.

Examples:
  omnirelay hub --path hub.db
  omnirelay hub --listen 127.0.0.1:7902 --path hub.db --token-env HUB_TOKEN
  omnirelay hub --listen 0.0.0.0:7902 --path hub.db --tls-cert hub.pem --tls-key hub.key --token-file hub.token`;

const Text = z.string().min(1, { error: "must not be empty" });
const text = parsedBy(Text);
const texts = (value: string, before: readonly string[]): readonly string[] => [...before, text(value)];

export function hubCommand(terminal: Terminal, done: Done): Command {
  return new Command("hub")
    .description("Take the events of many shards over gRPC, and store them before they are acknowledged.")
    .addOption(
      new Option("--listen <host:port>", "where; port 0 takes a free one").default("127.0.0.1:7902").argParser(text),
    )
    .addOption(new Option("--path <file>", "SQLite file; its folder must exist").makeOptionMandatory().argParser(text))
    .addOption(
      new Option("--durability <how>", "what an acknowledgement survives: a loss of power, or the end of the process")
        .default("full")
        .choices(["full", "normal"]),
    )
    .addOption(new Option("--tls-cert <file>", "PEM file with the certificate chain").argParser(text))
    .addOption(new Option("--tls-key <file>", "PEM file with its key").argParser(text))
    .addOption(new Option("--tls-client-ca <file>", "PEM file with the authorities of clients").argParser(text))
    .addOption(
      new Option("--token-env <variable>", "variable with a bearer token; again for a second")
        .default([])
        .argParser(texts),
    )
    .addOption(
      new Option("--token-file <file>", "file with a bearer token; again for a second").default([]).argParser(texts),
    )
    .addOption(new Option("--allow-plaintext", "speak without TLS, beyond loopback").default(false))
    .addOption(new Option("--allow-anonymous", "let anybody write, beyond loopback").default(false))
    .addOption(
      new Option("--message-bytes-max <bytes>", "largest message")
        .default(4 * KIB * KIB)
        .argParser(integer(KIB, 64 * KIB * KIB)),
    )
    .addOption(
      new Option("--streams-max <count>", "calls at once on one connection").default(100).argParser(integer(1, 10_000)),
    )
    .addOption(jsonOption('{"listening"} once it does'))
    .addHelpText("after", EXAMPLES)
    .action(async (options: HubCommandOptions, command: Command) => {
      try {
        await serve(options, terminal);
      } catch (error) {
        if (!(error instanceof OperatingError && error.code === "invalid_options")) throw error;
        command.error(`error: ${error.message}`);
      }
      done(EXIT_CODES.ok);
    });
}

/** Until a signal. */
async function serve(options: HubCommandOptions, terminal: Terminal): Promise<void> {
  const interruption = new Interruption();
  // gRPC is large, and no other command needs it.
  const { ReplicationHub } = await import("../../replication/hub.ts");
  const hub = await ReplicationHub.start(
    hubOptions(options),
    createLogger({ process: "hub", level: "info", to: "stderr" }),
  );
  try {
    const listening = `${options.listen.slice(0, options.listen.lastIndexOf(":"))}:${hub.port}`;
    terminal.out(options.json ? JSON.stringify({ listening }) : `the hub listens on ${listening}`);
    if (!interruption.signal.aborted) await once(interruption.signal, "abort");
  } finally {
    await hub.stop();
    interruption.close();
  }
}

function hubOptions(options: HubCommandOptions): HubOptions {
  const { listen, path, durability, tlsCert, tlsKey, tlsClientCa, tokenEnv, tokenFile } = options;
  const { allowPlaintext, allowAnonymous, messageBytesMax, streamsMax } = options;
  const hasTls = tlsCert !== undefined || tlsKey !== undefined || tlsClientCa !== undefined;
  // One of the two without the other is refused with the rest.
  const tls = { certFile: tlsCert ?? "", keyFile: tlsKey ?? "", clientCaFile: tlsClientCa };
  return {
    ...{ listen, path, durability, allowPlaintext, allowAnonymous, messageBytesMax, streamsMax },
    ...(hasTls ? { tls } : {}),
    tokens: [...tokenEnv.map((env) => ({ env })), ...tokenFile.map((file) => ({ file }))],
  };
}
