/** `omnirelay up`: the mesh on this machine, in a process of its own. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { Command } from "commander";
import { OperatingError } from "../../../contracts/errors.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { DISPATCHER_NODE_FLAGS } from "../../runtime/node-flags.ts";
import { processScript } from "../process-script.ts";
import type { Done } from "../program.ts";
import type { Terminal } from "../terminal.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export function upCommand(_terminal: Terminal, done: Done): Command {
  return new Command("up")
    .description(
      "Start the mesh: a NATS server, a dispatcher, workers, a seeder and the control plane, or some of them (--roles).",
    )
    .argument("[flags...]", "flags of the mesh; see: omnirelay up -- --help")
    .passThroughOptions()
    .allowUnknownOption()
    .addHelpText(
      "after",
      "\nExamples:\n  omnirelay up\n  omnirelay up --roles dispatcher --data-dir ./data\n  omnirelay up --items 2000 --exit --json",
    )
    .action(async (flags: readonly string[]) => done(await runMesh(flags)));
}

/** Runs the mesh in the foreground; returns its exit code. */
function runMesh(flags: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...DISPATCHER_NODE_FLAGS, processScript("mesh"), ...flags], {
    stdio: "inherit",
  });
  return new Promise((resolve, reject) => {
    // A terminal sends its signals to the child as well: a second one from us would be taken for impatience.
    const forward = (signal: NodeJS.Signals): void => {
      if (signal === "SIGTERM" || process.stdin.isTTY !== true) child.kill(signal);
    };
    for (const signal of SIGNALS) process.on(signal, forward);
    child.once("error", (cause) =>
      reject(
        new OperatingError("mesh_not_started", `cannot start the mesh: ${cause.message}`, { definite: true, cause }),
      ),
    );
    child.once("exit", (code, signal) => {
      for (const name of SIGNALS) process.off(name, forward);
      resolve(code ?? EXIT_CODES.signalBase + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
