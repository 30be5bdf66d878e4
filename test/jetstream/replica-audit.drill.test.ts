/** Audits of the replicas of a real three-server cluster, one of which is damaged behind NATS's back. */
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import type { Clock } from "../../contracts/ports.ts";
import { logStream, logSubject } from "../../contracts/subjects.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { publishAsync } from "../../services/jetstream/api.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { headerBlock } from "../../services/jetstream/header-block.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { auditReplicas, type ReplicaAuditRequest } from "../../services/jetstream/replica-audit.ts";
import { ReplicaAuditor } from "../../services/jetstream/replica-auditor.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { cli } from "../cli/fake-terminal.ts";
import { cluster, failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";
import { cutAt, flipBit, wipe } from "./stored-blocks.ts";
import { createStream } from "./stream-subject.ts";

const ADDRESS = { region: "local", shard: "default" };
const STREAM = logStream(ADDRESS.region, ADDRESS.shard);
const MESSAGES = 1_200;
const PATIENCE = { timeout: 30_000, interval: 250 };
const TEST_MS = 120_000;

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

/** A cluster with a stream of 1,200 messages on all three servers. */
async function replicatedLog() {
  const { nodes, urls } = await cluster(3, { cleanup: onTestFinished });
  const connection = await connectNats({ servers: urls, name: "audit test" });
  onTestFinished(() => connection.close());
  await createStream(connection, ADDRESS, 3);
  const inbox = new Inbox(connection);
  let published = 0;
  /** Texts are unique: `message 7 of the log`. */
  const publish = async (count: number): Promise<void> => {
    const until = published + count;
    while (published < until) {
      published += 1;
      const payload = Buffer.from(`message ${published} of the log ${"x".repeat(200)}`);
      const headers = headerBlock([{ name: "Omnirelay-Chain", value: `chain ${published}` }]);
      // Not all at once: each of them waits for its acknowledgement.
      const ack = publishAsync(inbox, logSubject(ADDRESS.region, ADDRESS.shard), payload, headers);
      if (published % 50 === 0 || published === until) expect(await ack).toMatchObject({ kind: "ok" });
    }
  };
  await vi.waitFor(() => publish(1), PATIENCE);
  await publish(MESSAGES - published);
  const audit = (request: Partial<ReplicaAuditRequest> = {}) => auditReplicas(connection, { ...ADDRESS, ...request });
  const ask = (...args: readonly string[]) => cli("log", "audit", "--nats-url", urls.join(","), ...args);
  return { nodes, connection, publish, audit, ask, lastSequence: () => published };
}

const named = (nodes: readonly NatsServer[], name: string): NatsServer => {
  const node = nodes.find(({ serverName }) => serverName === name);
  if (node === undefined) throw new Error(`no server ${name}`);
  return node;
};

/** Damages a server's copy while it is stopped. */
async function damaged(node: NatsServer, damage: () => void): Promise<void> {
  await node.stop();
  damage();
  await node.restart();
}

test(
  "healthy replicas are equal; a flipped bit is found, named with its server, and gone once that copy was wiped",
  async () => {
    const { nodes, audit, ask } = await replicatedLog();
    // Two of three acknowledge: the third may be far behind them on a busy machine.
    await vi.waitFor(async () => {
      for (const { messages } of (await audit()).replicas) expect(messages).toBe(MESSAGES);
    }, PATIENCE);
    for (const depth of ["bytes", "headers"] as const) {
      const { replicas, leader, ...rest } = await audit({ depth });
      expect(rest).toMatchObject({ from: 1, to: MESSAGES, absent: 0 });
      expect(replicas[0]?.server).toBe(leader);
      for (const report of replicas)
        expect(report).toMatchObject({ verdict: "equal", first: 1, last: MESSAGES, messages: MESSAGES, differsAt: 0 });
    }
    expect(await ask()).toMatchObject({ code: 0, notes: "" });

    const { leader } = await audit();
    const victim = nodes.find(({ serverName }) => serverName !== leader) ?? named(nodes, leader);
    const others = nodes.filter((node) => node !== victim).map(({ serverName }) => serverName);
    await damaged(victim, () => flipBit(victim, STREAM, "message 700 of the log"));
    const differing = {
      server: victim.serverName,
      verdict: "differs",
      missing: { count: 1, first: [700] },
      last: MESSAGES,
      agreesWith: [],
    };
    for (const depth of ["bytes", "headers"] as const)
      await vi.waitFor(async () => {
        const { replicas } = await audit({ depth });
        expect(replicas).toContainEqual(expect.objectContaining(differing));
        for (const server of others) {
          const agreesWith = others.filter((other) => other !== server);
          expect(replicas).toContainEqual(expect.objectContaining({ server, verdict: "equal", agreesWith }));
        }
      }, PATIENCE);
    // Outside the damaged place the copies are equal, also for an audit in pages.
    expect((await audit({ from: 701 })).replicas.map(({ verdict }) => verdict)).toEqual(["equal", "equal", "equal"]);

    const found = await ask("--from", "500", "--to", "900");
    expect(found).toMatchObject({ code: 1, out: expect.stringMatching(`${victim.serverName} +DIFFERS +400 messages`) });
    expect(found.notes).toContain(`lacks 1 message that another replica holds, the first at 700`);
    expect(found.notes).toContain(`stop ${victim.serverName}, delete the folder streams/${STREAM}`);
    expect(JSON.parse((await ask("--json")).out).replicas).toContainEqual(expect.objectContaining(differing));

    await damaged(victim, () => wipe(victim, STREAM));
    await vi.waitFor(async () => expect(await ask()).toMatchObject({ code: 0, notes: "" }), PATIENCE);
  },
  TEST_MS,
);

test(
  "a server that is down is unread, and a copy whose end was cut off never counts as equal",
  async () => {
    const { nodes, audit, publish } = await replicatedLog();
    const { leader } = await audit();
    const victim = nodes.find(({ serverName }) => serverName !== leader) ?? named(nodes, leader);
    const verdict = async () => (await audit()).replicas.find(({ server }) => server === victim.serverName)?.verdict;
    await victim.stop();
    cutAt(victim, STREAM, "message 1000 of the log");
    await vi.waitFor(async () => expect(await verdict()).toBe("unread"), PATIENCE);
    await victim.restart();
    await vi.waitFor(async () => expect(await verdict()).toBe("behind"), PATIENCE);
    // What comes now lands behind the hole, unless the server has noticed and fetched what it lacks.
    await publish(10);
    await vi.waitFor(async () => expect(await verdict()).toMatch(/^(differs|equal)$/), PATIENCE);
  },
  TEST_MS,
);

/** The same clock, so much faster that a minute of rounds takes a second. */
function fastClock(): Clock {
  const clock = createClock();
  return { ...clock, setTimer: (delayMs, callback) => clock.setTimer(delayMs / 60, callback) };
}

test(
  "a leading dispatcher's auditor raises an alarm for damage in the older log, keeps it, and drops it when the copy is mended",
  async () => {
    const { nodes, connection, publish, audit, lastSequence } = await replicatedLog();
    const events: string[] = [];
    const tell = (event: string, fields = {}) => void events.push(`${event} ${JSON.stringify(fields)}`);
    let isLeading = true;
    const auditor = new ReplicaAuditor({
      connection,
      ...ADDRESS,
      clock: fastClock(),
      reporter: { info: tell, warn: tell, error: tell },
      isLeading: () => isLeading,
      lastSequence,
    });
    auditor.start();
    onTestFinished(() => auditor.stop());
    const { leader } = await audit();
    const victim = nodes.find(({ serverName }) => serverName !== leader) ?? named(nodes, leader);
    await publish(100);
    expect(auditor.alarms).toEqual([]);

    await damaged(victim, () => flipBit(victim, STREAM, "message 300 of the log"));
    await vi.waitFor(() => expect(auditor.alarms).toHaveLength(1), PATIENCE);
    await vi.waitFor(
      () => expect(auditor.alarms.map(({ message }) => message).join()).toContain("the first at 300"),
      PATIENCE,
    );
    expect(auditor.alarms[0]?.message).toContain(`the copy of ${STREAM} on ${victim.serverName} lacks 1 message`);
    await publish(100);

    await damaged(victim, () => wipe(victim, STREAM));
    await vi.waitFor(() => expect(auditor.alarms).toEqual([]), PATIENCE);
    expect(events).toContainEqual(`replica_mended ${JSON.stringify({ server: victim.serverName })}`);

    await damaged(victim, () => flipBit(victim, STREAM, "message 300 of the log"));
    await vi.waitFor(
      () => expect(auditor.alarms.map(({ message }) => message).join()).toContain("the first at 300"),
      PATIENCE,
    );
    isLeading = false;
    await vi.waitFor(() => expect(auditor.alarms).toEqual([]), PATIENCE);
  },
  TEST_MS,
);

test("a log with one replica has nothing to compare", async () => {
  const server = await natsServer({ cleanup: onTestFinished });
  const connection = await connectNats({ servers: server.url, name: "audit test" });
  onTestFinished(() => connection.close());
  await createStream(connection, ADDRESS);
  expect((await auditReplicas(connection, ADDRESS)).replicas).toHaveLength(1);
  expect(await cli("log", "audit", "--nats-url", server.url)).toEqual({
    code: 0,
    out: `${STREAM} has one replica: there is nothing to compare`,
    notes: "",
  });
  expect(await cli("log", "audit", "--nats-url", server.url, "--shard", "other")).toMatchObject({
    code: 1,
    notes: expect.stringContaining("there is no stream"),
  });
});
