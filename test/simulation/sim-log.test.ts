/** The simulated log keeps the promises of the port, as the log in memory and JetStream do. */
import { describe, test } from "vitest";
import type { Log } from "../../contracts/ports.ts";
import { logConformance } from "../../services/testing/mod.ts";
import { Choices } from "./choices.ts";
import { Scheduler, SimProcess } from "./scheduler.ts";
import { Broker, SimConnection } from "./sim-broker.ts";
import { SimLog } from "./sim-log.ts";
import { SimStream } from "./sim-stream.ts";

logConformance({ describe, test }, "SimLog", () => {
  const scheduler = new Scheduler();
  const choices = new Choices(1);
  const broker = new Broker(scheduler);
  const ignore = (): void => undefined;
  const stream = new SimStream({
    ...{ subject: "omnirelay.log.test.test", bytesMax: -1, isSynced: true, scheduler, draws: choices.draws("stream") },
    ...{ serverTimeMs: () => scheduler.nowMs, onCommit: ignore, onTrim: ignore, cover: ignore },
  });
  const connections: SimConnection[] = [];
  const open = (): Log => {
    const name = `p${connections.length}`;
    const process = new SimProcess(name, scheduler, { drift: 0, startMs: 0, wallMs: 0 });
    const connection = new SimConnection(broker, process, name, choices.draws(name));
    connections.push(connection);
    return new SimLog(connection, stream);
  };
  const log = open();
  // Virtual time runs as fast as the test's own promises let it.
  let isOver = false;
  const pump = (): void => {
    scheduler.runUntil(scheduler.nowMs + 1);
    if (!isOver) setImmediate(pump);
  };
  pump();
  return Promise.resolve({
    log,
    openAnother: () => Promise.resolve(open()),
    publishForeign: (payload: Uint8Array) => {
      stream.append(payload, "", undefined, undefined);
      return Promise.resolve();
    },
    removeMessage: (streamSequence: number) => {
      stream.remove(streamSequence);
      return Promise.resolve();
    },
    interrupt: () => {
      connections[0]?.disconnect(false);
      return Promise.resolve();
    },
    restore: () => {
      connections[0]?.reconnect();
      return Promise.resolve();
    },
    close: () => {
      isOver = true;
      return Promise.resolve();
    },
  });
});
