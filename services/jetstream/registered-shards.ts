/** Every shard of a mesh, by the registry. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { REGISTRY_BUCKET, registryKey } from "../../contracts/subjects.ts";
import { apiFailure, askApiAsync, asRecord } from "./api.ts";
import { Inbox } from "./inbox.ts";
import { NatsKv } from "./nats-kv.ts";
import { type RegistryEntry, readEntry } from "./registry.ts";

const PREFIX = `$KV.${REGISTRY_BUCKET}.`;

/**
 * The entries of a region, or of all.
 * Throws: OperatingError `registry_missing` (definite), `registry_entry`, and what JetStream answers.
 */
export async function registeredShards(connection: NatsConnection, region = "*"): Promise<readonly RegistryEntry[]> {
  const inbox = new Inbox(connection);
  const kv = new NatsKv(connection, REGISTRY_BUCKET);
  try {
    const filter = `${PREFIX}${registryKey(region, "*")}`;
    const answer = await askApiAsync(inbox, `STREAM.INFO.KV_${REGISTRY_BUCKET}`, { subjects_filter: filter });
    if (answer.kind !== "ok") throw registryFailure(apiFailure(answer, "reading the shard registry", true));
    const keys = Object.keys(asRecord(asRecord(answer.value["state"])["subjects"])).map((subject) =>
      subject.slice(PREFIX.length).split("."),
    );
    const records = await Promise.all(keys.map(([home = "", shard = ""]) => readEntry(kv, home, shard)));
    return records.flatMap((record) => (record === undefined ? [] : [record.entry]));
  } finally {
    kv.close();
    inbox.close();
  }
}

function registryFailure(failure: OperatingError): OperatingError {
  if (failure.code !== "stream_missing") return failure;
  const message = "no shard was ever registered at this NATS server; check --nats-url";
  return new OperatingError("registry_missing", message, { definite: true, cause: failure });
}
