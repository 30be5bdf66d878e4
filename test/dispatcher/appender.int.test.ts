/** The rule for unknown outcomes on a real nats-server: the same claims as in memory, and every fault around real appends. */
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, describe } from "vitest";
import { logStream, logSubject } from "../../contracts/subjects.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { JetStreamLog } from "../../services/jetstream/jetstream-log.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { failOnLeakedServers, natsAvailability, natsServer } from "../support/nats.ts";
import { type AppenderWorld, appenderSuite, REGION, SHARD } from "./appender-suite.ts";
import { FaultyLog } from "./faulty-log.ts";

const nats = await natsAvailability();
const title = (name: string): string => (nats.available ? name : `${name} (skipped: ${nats.reason})`);
const STREAM = logStream(REGION, SHARD);
const SUBJECT = logSubject(REGION, SHARD);

const create = (manager: JetStreamManager): Promise<unknown> =>
  manager.streams.add({ name: STREAM, subjects: [SUBJECT], discard: "new" as never });

async function stored(manager: JetStreamManager): Promise<{ payload: Uint8Array; chain: string }[]> {
  const { state } = await manager.streams.info(STREAM);
  const messages: { payload: Uint8Array; chain: string }[] = [];
  for (let sequence = state.first_seq; sequence <= state.last_seq && state.messages > 0; sequence += 1) {
    const message = await manager.streams.getMessage(STREAM, { seq: sequence });
    if (message !== null) messages.push({ payload: message.data, chain: message.header.get("Omnirelay-Chain") });
  }
  return messages;
}

describe.skipIf(!nats.available)(title("on a real server"), () => {
  let server: NatsServer;
  beforeAll(async () => {
    server = await natsServer({ scope: "suite" });
  });
  afterAll(async () => server?.stop());
  afterEach(failOnLeakedServers);

  appenderSuite("JetStream", async (): Promise<AppenderWorld> => {
    const connection = await connectNats({ servers: server.url, name: "appender-test" });
    const late = await connectNats({ servers: server.url, name: "appender-test-late" });
    const manager = await jetstreamManager(connection);
    await create(manager);
    const address = { region: REGION, shard: SHARD };
    const logs = [new JetStreamLog(connection, address), new JetStreamLog(late, address)] as const;
    const log = new FaultyLog(logs[0], logs[1]);
    const publish = async (payload: Uint8Array, chain: string): Promise<void> => {
      const header = headers();
      header.set("Omnirelay-Chain", chain);
      await manager.jetstream().publish(SUBJECT, payload, chain === "" ? {} : { headers: header });
    };
    return {
      log,
      clock: createClock(),
      fail: (...faults) => log.fail(...faults),
      publish,
      drop: async (streamSequence) => void (await manager.streams.deleteMessage(STREAM, streamSequence)),
      truncate: async (lastSequence) => {
        const kept = (await stored(manager)).slice(0, lastSequence);
        await manager.streams.delete(STREAM);
        await create(manager);
        for (const { payload, chain } of kept) await publish(payload, chain);
      },
      remove: async () => void (await manager.streams.delete(STREAM)),
      payloads: async () => (await stored(manager)).map(({ payload }) => Buffer.from(payload).toString()),
      drive: (promise) => promise,
      close: async () => {
        for (const each of logs) each.close();
        await manager.streams.delete(STREAM).catch(() => undefined); // a test may have removed it
        await connection.close();
        await late.close();
      },
    };
  });
});
