/** Runs one external program to its end; separate so that every caller reports a failure with the program's own last words. */
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The program is killed after this time. ms. */
  readonly timeoutMs: number;
}

/**
 * How often a program is tried again that was "busy". Right after it was written, another child of this process, between its fork and its
 * exec, may still hold the file open for writing; that is over in microseconds.
 */
const BUSY_ATTEMPTS_MAX = 20;
const BUSY_PAUSE_MS = 10;
/** Most bytes of output that a program may print; more is a failure, not an endless buffer. */
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Runs a program without a shell and returns what it wrote to stdout.
 *
 * Throws: an Error that names the program, how it ended and the last lines that it wrote.
 */
export async function runCommand(program: string, args: readonly string[], options: CommandOptions): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await runOnce(program, args, options);
    } catch (error) {
      if (!(error instanceof ProgramBusy) || attempt === BUSY_ATTEMPTS_MAX) throw error;
      await delay(BUSY_PAUSE_MS);
    }
  }
}

class ProgramBusy extends Error {}

function runOnce(program: string, args: readonly string[], options: CommandOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const { cwd, env, timeoutMs } = options;
    const settings = {
      timeout: timeoutMs,
      killSignal: "SIGKILL" as const,
      maxBuffer: OUTPUT_BYTES_MAX,
      ...(cwd === undefined ? {} : { cwd }),
      ...(env === undefined ? {} : { env }),
    };
    execFile(program, args, settings, (error, stdout, stderr) => {
      if (error === null) {
        resolve(stdout);
        return;
      }
      const isBusy = (error.code as unknown) === "ETXTBSY";
      const ending = error.killed === true ? `did not end within ${timeoutMs} ms` : endingOf(error.code, error.signal);
      const words = lastLines(stderr === "" ? stdout : stderr, 4);
      const message = `${program} ${ending}${words === "" ? "" : `: ${words}`}`;
      reject(isBusy ? new ProgramBusy(message, { cause: error }) : new Error(message, { cause: error }));
    });
  });
}

/** The first file of that name that may be executed, in the folders of a `PATH` and then in `extraFolders`; undefined when there is none. */
export async function findProgram(
  name: string,
  pathVariable: string | undefined,
  extraFolders: readonly string[] = [],
): Promise<string | undefined> {
  return (await programsNamed(name, pathVariable, extraFolders))[0];
}

/** Every file of that name that may be executed, in the order in which a shell would look. */
export async function programsNamed(
  name: string,
  pathVariable: string | undefined,
  extraFolders: readonly string[] = [],
): Promise<readonly string[]> {
  const found: string[] = [];
  const folders = (pathVariable ?? "").split(delimiter).filter((folder) => folder !== "");
  for (const folder of new Set([...folders, ...extraFolders])) {
    const candidate = join(folder, name);
    if (await isExecutableFile(candidate)) found.push(candidate);
  }
  return found;
}

/** Whether the path is a regular file (or a link to one) that this user may execute. */
export async function isExecutableFile(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    // Missing, not a file, or not allowed: all mean "not usable", and the caller says where it looked.
    return false;
  }
}

function endingOf(code: string | number | null | undefined, signal: NodeJS.Signals | null | undefined): string {
  if (code === "ENOENT") return "was not found";
  if (signal !== null && signal !== undefined) return `was ended by ${signal}`;
  return `ended with ${code ?? "an unknown code"}`;
}

function lastLines(text: string, count: number): string {
  const lines = text.split("\n").map((line) => line.trim());
  return lines
    .filter((line) => line !== "")
    .slice(-count)
    .join(" | ");
}
