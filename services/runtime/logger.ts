/**
 * The log of a process: one JSON line per event. Apart from the lifecycle so that tests and the CLI can have it alone.
 *
 * Where it goes: standard output, because a supervisor reads the `"msg":"ready"` line there; with `--json` standard error, because
 * then standard output holds the one result and nothing else.
 */
import { type DestinationStream, destination, pino } from "pino";
import type { Reporter } from "../../contracts/ports.ts";
import { redact } from "./redact.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LoggerOptions {
  /** Name of the process, in each line as `process`. */
  readonly process: string;
  readonly peerId?: string;
  readonly level: LogLevel;
  /** `stdout`, `stderr`, or a stream of a test. */
  readonly to: "stdout" | "stderr" | DestinationStream;
}

export interface Logger extends Reporter {
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A logger that adds fields to each line. */
  child(fields: Readonly<Record<string, unknown>>): Logger;
}

/** Names that a line has already; fields of the same name get a `_`, so that no field can pass for another event or process. */
const RESERVED: ReadonlySet<string> = new Set(["level", "time", "msg", "process", "peerId"]);

/** Writes synchronously: the last line before an exit is the one that matters. */
export function createLogger(options: LoggerOptions): Logger {
  const base = { process: options.process, ...(options.peerId === undefined ? {} : { peerId: options.peerId }) };
  const stream = typeof options.to === "string" ? descriptor(options.to) : options.to;
  return wrap(
    pino(
      {
        level: options.level,
        base,
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      stream,
    ),
  );
}

function descriptor(name: "stdout" | "stderr"): DestinationStream {
  const stream = destination({ fd: name === "stdout" ? 1 : 2, sync: true });
  // The reader of a pipe may go away (`… | head`): then the lines have no reader, but the work goes on.
  stream.on("error", () => {});
  return stream;
}

type Write = (fields: object, event: string) => void;
interface Sink {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
  child(fields: object): Sink;
}

function wrap(sink: Sink): Logger {
  return {
    debug: (event, fields) => sink.debug(lineFields(fields), event),
    info: (event, fields) => sink.info(lineFields(fields), event),
    warn: (event, fields) => sink.warn(lineFields(fields), event),
    error: (event, fields) => sink.error(lineFields(fields), event),
    child: (fields) => wrap(sink.child(lineFields(fields))),
  };
}

function lineFields(fields: Readonly<Record<string, unknown>> | undefined): object {
  if (fields === undefined) return {};
  const safe = redact(fields) as Record<string, unknown>;
  const line: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(safe)) line[RESERVED.has(name) ? `_${name}` : name] = value;
  return line;
}
