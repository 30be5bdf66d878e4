/** A JetStream log on a fresh shard of a real server, as the conformance suite wants it. */
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import type { AppendOutcome } from "../../contracts/ports.ts";
import { logStream, logSubject } from "../../contracts/subjects.ts";
import { apiFailure, askApiAsync } from "../../services/jetstream/api.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { JetStreamLog, type LogAddress } from "../../services/jetstream/jetstream-log.ts";
import { patiently } from "../../services/jetstream/patience.ts";
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
    return await patiently(async () => {
      const answer = await askApiAsync(inbox, subject, body, API_TIMEOUT_MS);
      if (answer.kind === "ok") return answer.value;
      throw apiFailure(answer, subject, true);
    });
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

/** Far behind any end: refused by the stream's leader, and so a sign that it is there. */
const SEQUENCE_BEYOND = 1_000_000_000;

/** A replicated stream that was just made answers nothing, or `no responders`, for a moment. */
async function untilServed(log: JetStreamLog): Promise<void> {
  for (let kind = ""; kind !== "wrong_last"; ) {
    const outcome = await new Promise<AppendOutcome>((resolve) =>
      log.append(new Uint8Array(0), "", SEQUENCE_BEYOND, API_TIMEOUT_MS, resolve),
    );
    kind = outcome.kind;
  }
}

export async function jetStreamSubject(options: SubjectOptions): Promise<LogUnderTest> {
  const address = { region: REGION, shard: freshShard() };
  const open: { log: JetStreamLog; connection: NatsConnection }[] = [];
  const openAnother = async (): Promise<JetStreamLog> => {
    const connection = await connectNats({ servers: options.urls, name: "conformance" });
    const log = new JetStreamLog(connection, address);
    open.push({ log, connection });
    await untilServed(log);
    return log;
  };
  const admin = await connectNats({ servers: options.urls, name: "conformance admin" });
  const stream = await createStream(admin, address, options.replicas, { deny_delete: false });
  // The log first: it waits until every server knows where the stream is.
  const log = await openAnother();
  return {
    log,
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
