/**
 * The life of a process: settings, start, the ready line, signals, an orderly stop within a bound, and the exit code. Every `main.ts`
 * is a call of `runProcess`, so that all processes behave alike.
 *
 * Exit codes: 0 done, or stopped in order with nothing left that it was to finish; 1 an operating error or a stop that took too long; 2 the settings cannot be used; 70 a bug
 * (a failed assertion: the log replays, so it is safer to end than to go on); 128 + n a second signal n.
 */
import { constants } from "node:os";
import { performance } from "node:perf_hooks";
import type { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { RELEASE_VERSION } from "../../contracts/version.ts";
import { type LoadedSettings, loadSettings, type ProcessSettings, settingNames } from "./config.ts";
import { ConfigError } from "./config-error.ts";
import { parseFlags } from "./flags.ts";
import { createLogger, LOG_LEVELS, type Logger } from "./logger.ts";
import { redactText } from "./redact.ts";
import type { Role } from "./role.ts";
import { helpText } from "./settings-table.ts";

export const EXIT_CODES = { ok: 0, failed: 1, usage: 2, bug: 70, signalBase: 128 } as const;
const STOP_TIMEOUT_MS = 10_000;
/** SIGHUP: the terminal was closed. */
const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** A role that may end by itself: with the exit code that the process then has. */
export interface ProcessRole extends Role {
  finished?(): Promise<number>;
  /** The exit code when a signal stops it in order; 0 unless it had something to finish. */
  codeWhenStopped?(): number;
}

interface ProcessContext<Settings> {
  readonly settings: Settings;
  readonly reporter: Logger;
}

export interface ProcessDefinition<Schema extends z.ZodObject> {
  readonly settings: ProcessSettings<Schema>;
  /** How a person starts it, for the help. */
  readonly command: string;
  create(context: ProcessContext<Readonly<z.output<Schema>>>): ProcessRole | Promise<ProcessRole>;
}

/** Runs a process to its end. Never returns to its caller in any other way than by the end of the process. */
export async function runProcess<Schema extends z.ZodObject>(definition: ProcessDefinition<Schema>): Promise<never> {
  const name = definition.settings.process;
  const loaded = loadOrExit(definition);
  const chosen = loaded.settings as { json?: boolean; logLevel?: unknown; stopTimeoutMs?: number; peerId?: string };
  const reporter = createLogger({
    process: name,
    level: LOG_LEVELS.find((level) => level === chosen.logLevel) ?? "info",
    to: chosen.json === true ? "stderr" : "stdout",
    ...(chosen.peerId === undefined ? {} : { peerId: chosen.peerId }),
  });
  const exit = createExit(name, reporter, chosen.stopTimeoutMs ?? STOP_TIMEOUT_MS);
  reporter.info("starting", {
    version: RELEASE_VERSION,
    node: process.version,
    pid: process.pid,
    settings: loaded.effective,
    origins: Object.fromEntries(Object.entries(loaded.origins).filter(([, origin]) => origin !== "default")),
  });
  try {
    const role = await definition.create({ settings: loaded.settings, reporter });
    exit.role = role;
    if (exit.isStopping()) return await exit.stop(EXIT_CODES.ok);
    const startedAt = performance.now();
    await role.start();
    if (exit.isStopping()) return await exit.never;
    reporter.info("ready", {
      role: role.name,
      detail: role.ready().detail,
      startMs: Math.round(performance.now() - startedAt),
    });
    if (role.finished === undefined) return await exit.never;
    const code = await role.finished();
    return await exit.stop(code);
  } catch (error) {
    // A start that a signal has cut short fails in whatever way; the signal is the reason and its stop is under way.
    if (exit.isStopping()) return exit.never;
    if (!(error instanceof OperatingError)) throw error;
    reporter.error("failed", { code: error.code, error });
    tell(name, error);
    return exit.stop(isOfSettings(error) ? EXIT_CODES.usage : EXIT_CODES.failed);
  }
}

/** Settings that are checked with what they name, after they were loaded. */
const SETTINGS_CODES: ReadonlySet<string> = new Set(["sinks_invalid", "sink_module_invalid"]);
const isOfSettings = (error: OperatingError): boolean => error instanceof ConfigError || SETTINGS_CODES.has(error.code);

function loadOrExit<Schema extends z.ZodObject>(
  definition: ProcessDefinition<Schema>,
): LoadedSettings<Readonly<z.output<Schema>>> {
  const source = { args: process.argv.slice(2), env: process.env };
  const flags = parseFlags(source.args, settingNames(definition.settings), definition.settings.process);
  if (flags.help) {
    process.stdout.write(helpText(definition.settings, definition.command));
    process.exit(EXIT_CODES.ok);
  }
  if (flags.version) {
    process.stdout.write(`${RELEASE_VERSION}\n`);
    process.exit(EXIT_CODES.ok);
  }
  try {
    return loadSettings(definition.settings, source, flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    tell(definition.settings.process, error);
    process.exit(EXIT_CODES.usage);
  }
}

/** For the person at the terminal; the log line is for the supervisor. */
function tell(name: string, error: OperatingError): void {
  process.stderr.write(`omnirelay ${name}: ${redactText(error.message)}\n`);
}

interface Exit {
  role: ProcessRole | undefined;
  isStopping(): boolean;
  /** Stops the role, then ends the process with `code`; a second call joins the first. */
  stop(code: number): Promise<never>;
  readonly never: Promise<never>;
}

/** Installs what ends a process: two signals, bugs, and `stop`. */
function createExit(name: string, reporter: Logger, stopTimeoutMs: number): Exit {
  let stopping: Promise<never> | undefined;
  const exit: Exit = {
    role: undefined,
    isStopping: () => stopping !== undefined,
    never: new Promise<never>(() => {}),
    stop: (code) => {
      stopping ??= stopInTime(exit.role, code, reporter, stopTimeoutMs);
      return stopping;
    },
  };
  const onSignal = (signal: (typeof STOP_SIGNALS)[number]): void => {
    if (stopping !== undefined) {
      reporter.warn("killed_by_second_signal", { signal });
      process.exit(EXIT_CODES.signalBase + constants.signals[signal]);
    }
    reporter.info("stopping", { signal });
    exit.stop(exit.role?.codeWhenStopped?.() ?? EXIT_CODES.ok).catch(onBug);
  };
  const onBug = (error: unknown): void => {
    reporter.error("bug", { error: error instanceof Error ? error : new Error(String(error)) });
    process.stderr.write(`omnirelay ${name}: a defect of this program ended it; the log has its trace\n`);
    process.exit(EXIT_CODES.bug);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  process.on("uncaughtException", onBug);
  // The reader of a pipe may leave (`… | head`): that ends nobody's work.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  return exit;
}

async function stopInTime(
  role: ProcessRole | undefined,
  code: number,
  reporter: Logger,
  timeoutMs: number,
): Promise<never> {
  const timer = setTimeout(() => {
    reporter.error("stop_timed_out", { timeoutMs, detail: role?.ready().detail });
    process.exit(EXIT_CODES.failed);
  }, timeoutMs);
  try {
    await role?.stop();
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    // What could not be ended in order is said, and ends with the process: nobody waits for it any more.
    reporter.error("stop_failed", { error });
    return process.exit(code === EXIT_CODES.ok ? EXIT_CODES.failed : code);
  } finally {
    clearTimeout(timer);
  }
  reporter.info("stopped", { exitCode: code });
  return process.exit(code);
}
