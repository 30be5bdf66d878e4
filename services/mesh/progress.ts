/** Shows how far a run is: a bar on a terminal, a log line now and then elsewhere. */
import { Presets, SingleBar } from "cli-progress";
import type { Reporter } from "../../contracts/ports.ts";

export interface Progress {
  update(done: number): void;
  stop(): void;
}

/** Time between two log lines. ms. */
const LINE_MS = 5_000;
const DRAWS_PER_SECOND = 10;

/** On standard error, so that a result on standard output stays alone. */
export function createProgress(total: number, reporter: Reporter): Progress {
  return process.stderr.isTTY === true ? bar(total) : lines(total, reporter);
}

function bar(total: number): Progress {
  const drawn = new SingleBar(
    {
      format: "items {bar} {value}/{total} {percentage} % {duration_formatted}",
      stream: process.stderr,
      fps: DRAWS_PER_SECOND,
      hideCursor: true,
    },
    Presets.shades_classic,
  );
  drawn.start(total, 0);
  return { update: (done) => drawn.update(done), stop: () => drawn.stop() };
}

function lines(total: number, reporter: Reporter): Progress {
  let toldAtMs = performance.now();
  return {
    update: (done) => {
      if (performance.now() - toldAtMs < LINE_MS) return;
      toldAtMs = performance.now();
      reporter.info("progress", { done, total });
    },
    stop: () => {},
  };
}
