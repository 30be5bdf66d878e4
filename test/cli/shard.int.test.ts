/** `omnirelay shard` against real dispatchers: who leads, who follows, and handing a shard over. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";
import { cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

/** A leader works a moment before its hint stands in the registry. */
const untilRegistered = (url: string, leader: string): Promise<void> =>
  vi.waitFor(
    async () => {
      const { out } = await cli("shard", "list", "--json", "--nats-url", url);
      expect(JSON.parse(out)).toMatchObject({ lastKnown: { leader } });
    },
    { timeout: 10_000 },
  );

test("shows each shard with its leader and followers, and hands one over in order", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  const shards = ["--shards", "orders"];
  await mesh.dispatcher("a", shards, '"msg":"leading"');
  const standby = await mesh.dispatcher("b", shards);
  const shard = (...args: readonly string[]) => cli("shard", ...args, "--nats-url", mesh.server.url);
  const json = async (...args: readonly string[]) => JSON.parse((await shard(...args, "--json")).out);

  await untilRegistered(mesh.server.url, "a");
  expect(await json("list")).toMatchObject({
    ...{ region: "local", shard: "orders", leader: "a", term: 1, lastKnown: { leader: "a", term: 1 } },
    followers: [{ peer: "b", behind: 0, stopping: false }],
  });
  expect((await shard("list")).out).toMatch(
    /^local\/orders {2}led by a in term 1, at sequence \d+ {2}followed by b \(0 behind\)$/,
  );

  expect(await shard("handover", "--shard", "orders", "--to", "zz")).toEqual({
    code: 1,
    out: "",
    notes: "omnirelay: unavailable: zz cannot take over shard orders: it is not heard of; b could",
  });
  const { out, code } = await shard("handover", "--shard", "orders");
  expect({ out, code }).toEqual({
    out: expect.stringMatching(/^shard orders: term 1, sequence \d+: b leads next$/),
    code: 0,
  });
  await standby.line('"msg":"leading"');
  expect(await json("handover", "--shard", "orders", "--to", "b")).toMatchObject({ successor: "b", term: 2 });
  expect(await json("list")).toMatchObject({ leader: "b", term: 2, followers: [{ peer: "a" }] });

  await standby.signal("SIGKILL");
  expect(await json("handover", "--shard", "orders", "--to", "a")).toMatchObject({ successor: "a", term: 3 });
});

test("says what is not there", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  const dispatcher = await mesh.dispatcher("a");
  await untilRegistered(mesh.server.url, "a");
  await dispatcher.signal("SIGKILL");
  expect((await cli("shard", "list", "--nats-url", mesh.server.url)).out).toBe(
    "local/default  led by nobody, last a in term 1  followed by nobody",
  );
  expect(await cli("shard", "list", "--region", "elsewhere", "--nats-url", mesh.server.url)).toEqual({
    code: 0,
    out: "",
    notes: "",
  });
  expect(await cli("shard", "handover", "--timeout-ms", "100", "--nats-url", mesh.server.url)).toMatchObject({
    code: 1,
    notes: expect.stringContaining("stats: no answer in time (no responders)"),
  });
  const bare = await natsServer({ cleanup: onTestFinished });
  expect(await cli("shard", "list", "--nats-url", bare.url)).toMatchObject({
    code: 1,
    notes: "omnirelay: no shard was ever registered at this NATS server; check --nats-url",
  });
});
