/** Signals that end a command in order, with what it has done so far. */
import { constants } from "node:os";
import { OperatingError } from "../../contracts/errors.ts";
import { EXIT_CODES } from "../runtime/lifecycle.ts";

/** Turns the first SIGINT or SIGTERM into an abort; a second one ends the process as usual. */
export class Interruption {
  exitCode: number | undefined;
  readonly #controller = new AbortController();

  constructor() {
    process.on("SIGINT", this.#interrupt);
    process.on("SIGTERM", this.#interrupt);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  close(): void {
    process.off("SIGINT", this.#interrupt);
    process.off("SIGTERM", this.#interrupt);
  }

  readonly #interrupt = (signal: "SIGINT" | "SIGTERM"): void => {
    this.close();
    this.exitCode = EXIT_CODES.signalBase + constants.signals[signal];
    this.#controller.abort(new OperatingError("interrupted", "interrupted", { definite: false }));
  };
}
