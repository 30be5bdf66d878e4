/** A JetStream log on a fresh shard of a real server, as the conformance suite wants it. */
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import { logStream, logSubject } from "../../contracts/subjects.ts";
import { askApiAsync } from "../../services/jetstream/api.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { JetStreamLog, type LogAddress } from "../../services/jetstream/jetstream-log.ts";
import { streamConfig } from "../../services/jetstream/stream-config.ts";
import type { LogUnderTest } from "../../services/testing/log-conformance.ts";

export interface SubjectOptions {
  readonly urls: readonly string[];
  readonly replicas: number;
  interrupt(): Promise<void>;
  restore(): Promise<void>;
}

const REGION = "test";
const API_TIMEOUT_MS = 10_000;

/** A shard name that no other test uses. */
export function freshShard(): string {
  return `s${randomBytes(6).toString("hex")}`;
}

/** Asks the JetStream API and fails the test on anything but success. */
export async function api(
  connection: NatsConnection,
  subject: string,
  body: unknown,
): Promise<Readonly<Record<string, unknown>>> {
  const inbox = new Inbox(connection);
  try {
    const answer = await askApiAsync(inbox, subject, body, API_TIMEOUT_MS);
    if (answer.kind === "ok") return answer.value;
    throw new Error(`${subject}: ${JSON.stringify(answer)}`);
  } finally {
    inbox.close();
  }
}

/** Creates a shard's stream, empty. `overrides` may take the protection against deletes away. */
export async function createStream(
  connection: NatsConnection,
  address: LogAddress,
  replicas = 1,
  overrides: object = {},
): Promise<string> {
  const stream = logStream(address.region, address.shard);
  const config = { ...streamConfig({ ...address, replicas, maxBytes: -1 }), ...overrides };
  await api(connection, `STREAM.CREATE.${stream}`, config);
  return stream;
}

export async function jetStreamSubject(options: SubjectOptions): Promise<LogUnderTest> {
  const address = { region: REGION, shard: freshShard() };
  const open: { log: JetStreamLog; connection: NatsConnection }[] = [];
  const openAnother = async (): Promise<JetStreamLog> => {
    const connection = await connectNats({ servers: options.urls, name: "conformance" });
    const log = new JetStreamLog(connection, address);
    open.push({ log, connection });
    return log;
  };
  const admin = await connectNats({ servers: options.urls, name: "conformance admin" });
  const stream = await createStream(admin, address, options.replicas, { deny_delete: false });
  return {
    log: await openAnother(),
    openAnother,
    publishForeign: async (payload) => void (await admin.request(logSubject(REGION, address.shard), payload)),
    removeMessage: async (seq) => void (await api(admin, `STREAM.MSG.DELETE.${stream}`, { seq })),
    interrupt: () => options.interrupt(),
    restore: () => options.restore(),
    close: async () => {
      for (const { log } of open) log.close();
      await Promise.all([admin, ...open.map(({ connection }) => connection)].map((connection) => connection.close()));
    },
  };
}
