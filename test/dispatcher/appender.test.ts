/** The rule for unknown outcomes on the log in memory. */
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { MemoryLog, MemoryStream } from "../../services/testing/mod.ts";
import { type AppenderWorld, appenderSuite, REGION, SHARD } from "./appender-suite.ts";

appenderSuite("memory", async (): Promise<AppenderWorld> => {
  const clock = new FakeClock();
  const stream = new MemoryStream({ subject: `omnirelay.log.${REGION}.${SHARD}` });
  const log = new MemoryLog({ clock, stream });
  return {
    log,
    clock,
    fail: (...faults) => log.failNextAppend(...faults),
    publish: async (payload, chain) => void stream.publish(payload, chain),
    drop: async (streamSequence) => stream.drop(streamSequence),
    truncate: async (lastSequence) => stream.truncateTail(lastSequence),
    remove: async () => {
      stream.isMissing = true;
    },
    payloads: async () => stream.messages().map(({ payload }) => Buffer.from(payload).toString()),
    drive: async (promise) => {
      let isSettled = false;
      const watched = promise.finally(() => {
        isSettled = true;
      });
      for (let step = 0; step < 10_000 && !isSettled; step += 1) {
        clock.advance(10);
        await Promise.resolve();
        await Promise.resolve();
      }
      return watched;
    },
    close: async () => log.close(),
  };
});
