/** Asks how far a shard's stream reaches: what is missing at its end shows only there. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { logStream } from "../../contracts/subjects.ts";
import { JetStreamLog } from "../jetstream/jetstream-log.ts";

const INFO_TIMEOUT_MS = 5_000;

export interface LogBounds {
  readonly first: number;
  readonly last: number;
  readonly replicas: number;
}

/** First and last stream sequence; `last` is 0 for an empty stream. Throws: OperatingError `stream_missing`, or what JetStream answers. */
export function logBounds(
  connection: NatsConnection,
  address: { readonly region: string; readonly shard: string },
): Promise<LogBounds> {
  const log = new JetStreamLog(connection, address);
  return new Promise((resolve, reject) => {
    log.info(INFO_TIMEOUT_MS, (outcome) => {
      log.close();
      if (outcome.kind === "info") {
        const { firstSequence, lastSequence, replicas } = outcome.info;
        resolve({ first: Math.max(1, firstSequence), last: lastSequence, replicas });
      } else if (outcome.kind === "failed") reject(outcome.error);
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
