/** Asks how far a shard's stream reaches: what is missing at its end shows only there. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { logStream } from "../../contracts/subjects.ts";
import { JetStreamLog } from "../jetstream/jetstream-log.ts";

const INFO_TIMEOUT_MS = 5_000;

/** First and last stream sequence; `last` is 0 for an empty stream. Throws: OperatingError `stream_missing`, or what JetStream answers. */
export function logBounds(
  connection: NatsConnection,
  address: { readonly region: string; readonly shard: string },
): Promise<{ readonly first: number; readonly last: number }> {
  const log = new JetStreamLog(connection, address);
  return new Promise((resolve, reject) => {
    log.info(INFO_TIMEOUT_MS, (outcome) => {
      log.close();
      if (outcome.kind === "info")
        resolve({ first: Math.max(1, outcome.info.firstSequence), last: outcome.info.lastSequence });
      else if (outcome.kind === "failed") reject(outcome.error);
      else reject(noStream(address.region, address.shard));
    });
  });
}

const noStream = (region: string, shard: string): OperatingError =>
  new OperatingError(
    "stream_missing",
    `there is no stream ${logStream(region, shard)}; check --nats-url, --region and --shard`,
    {
      definite: true,
    },
  );
