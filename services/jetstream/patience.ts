/** Waiting for JetStream to become able to answer: for steps that may be done again, off the hot path. */
import { OperatingError } from "../../contracts/errors.ts";
import { API_CODES } from "./api.ts";

/** How long to wait unless the caller says otherwise: a cluster elects within 4 to 9 s, sometimes twice. ms. */
const PATIENCE_MS = 30_000;
const RETRY_MS = 250;
const SERVICE_UNAVAILABLE = 503;
const PASSING: ReadonlySet<string> = new Set(["jetstream_unavailable", "jetstream_timeout", "nats_disconnected"]);

/** Does a step again while time can heal its error, at most for `patienceMs`; then throws the last one. The step must bear repetition. */
export async function patiently<Result>(
  step: () => Promise<Result>,
  patienceMs: number = PATIENCE_MS,
): Promise<Result> {
  const start = performance.now();
  for (;;) {
    try {
      return await step();
    } catch (error) {
      if (!canPass(error) || performance.now() - start >= patienceMs) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Definite or not: the step is done again either way. */
function canPass(error: unknown): boolean {
  if (!(error instanceof OperatingError)) return false;
  const { code, errCode } = error.details;
  return PASSING.has(error.code) || code === SERVICE_UNAVAILABLE || errCode === API_CODES.noSuitablePeers;
}
