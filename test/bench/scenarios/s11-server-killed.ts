/** S11: the servers are killed under load: how long until they take items again, and whether an item that was acknowledged is lost. */
import { amount, type DirectScenario, notAQueue } from "./scenario.ts";

/** What a careful user would set. JetStream's client ships 5 s: a publish whose answer was lost waits for all of it, and that is all that would be measured. ms. */
const ANSWER_MS = 1_000;

export const s11: DirectScenario = {
  kind: "direct",
  name: "S11",
  title: "servers killed and started again under load: time until the next acknowledgement",
  unit: "ms",
  better: "less",
  sizes: {
    small: { ackedFirst: 100, batch: 10, inFlight: 2, boundMs: 25_000 },
    full: { ackedFirst: 20_000, batch: 100, inFlight: 4, boundMs: 120_000 },
  },
  runsMax: 3,
  unfit: (peer) =>
    notAQueue(peer) ??
    (peer.name.endsWith("-raw") ? "its client asks nothing twice: that is the SDK's work" : undefined),
  direct: async ({ crash, actor, amounts }) => {
    const [ackedFirst, boundMs] = [amount(amounts, "ackedFirst"), amount(amounts, "boundMs")];
    const producer = await actor({ answerMs: ANSWER_MS });
    await producer.tell({ order: "produce", batch: amount(amounts, "batch"), inFlight: amount(amounts, "inFlight") });
    if (!(await producer.until(() => producer.counts.acked.size >= ackedFirst, boundMs)))
      throw new Error(`only ${producer.counts.acked.size} items were acknowledged: ${producer.failures[0] ?? ""}`);
    const killedMs = performance.now();
    await crash();
    const servedMs = performance.now();
    if (!(await producer.until(() => producer.lastAckMs > servedMs, boundMs)))
      throw new Error(`nothing was acknowledged again: ${producer.failures.at(-1) ?? ""}`);
    const recoveryMs = producer.lastAckMs - killedMs;
    await producer.tell({ order: "stopProducing" });
    const { acked } = producer.counts;
    const worker = await actor({});
    await worker.tell({ order: "work", concurrency: 100, isHeld: false });
    let left = [...acked.keys()];
    const isDone = (): boolean => {
      left = left.filter((number) => !worker.counts.started.has(number));
      return left.length === 0;
    };
    await worker.until(isDone, boundMs);
    await worker.tell({ order: "stopWork" });
    const doubles = [...worker.counts.settled.values()].filter((times) => times > 1).length;
    const more = {
      ...{ acked: acked.size, lost: left.length, doubles },
      ...{ restartMs: Math.round(servedMs - killedMs), answerMs: ANSWER_MS },
    };
    return { "": { value: Math.round(recoveryMs), items: acked.size, more } };
  },
};
