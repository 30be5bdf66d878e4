/** `omnirelay schedule` against a real mesh, and each tick once although its leader is killed around it. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("put, list and delete say what they do, and again that it is done", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const ask = (...args: readonly string[]) => cli("schedule", ...args, "--nats-url", mesh.server.url);
  const put = ["put", "nightly", "--cron", "0 3 * * *", "--resource-type", "reports", "--resource-id", "daily"];
  const berlin = [...put, "--time-zone", "Europe/Berlin", "--catch-up", "all", "--priority", "5"];
  expect((await ask(...put)).out).toMatch(/^nightly: next 20\d\d-\d\d-\d\dT03:00:00\.000Z$/);
  expect((await ask(...put)).out).toMatch(/, as it was before$/);
  expect(JSON.parse((await ask(...berlin, "--json")).out)).toMatchObject({ name: "nightly", duplicate: false });
  expect((await ask("list")).out).toMatch(
    /^nightly {2}0 3 \* \* \* {2}Europe\/Berlin {2}all {2}next 20\S+Z {2}reports daily$/,
  );
  expect(JSON.parse((await ask("list", "--json")).out)).toMatchObject({ putBy: "cli", item: { priority: 5 } });
  expect((await ask(...put, "--paused")).out).toBe("nightly: paused");
  expect(await ask("delete", "nightly")).toEqual({ code: 0, out: "nightly: deleted", notes: "" });
  expect(await ask("delete", "nightly")).toEqual({ code: 0, out: "nightly: there was none", notes: "" });
});

test("bad expressions, zones and items are refused by their names", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const item = ["--resource-type", "reports", "--resource-id", "daily"];
  const put = (...args: readonly string[]) => cli("schedule", "put", "x", ...args, "--nats-url", mesh.server.url);
  const never = await put("--cron", "0 0 30 2 *", ...item);
  expect([never.code, never.notes]).toEqual([1, expect.stringContaining("invalid_argument: cron: never ticks")]);
  const zone = await put("--cron", "0 0 1 1 *", "--time-zone", "Mars/Olympus", ...item);
  expect([zone.code, zone.notes]).toEqual([1, expect.stringContaining("timeZone: Mars/Olympus is no time zone")]);
  expect(await put("--cron", "0 0 1 1 *", "--resource-type", "reports")).toMatchObject({
    code: 2,
    notes: expect.stringContaining("the item is not valid: resourceId"),
  });
  expect((await cli("schedule", "list", "--nats-url", mesh.server.url)).out).toBe("");
});

test("next prints the coming ticks of an expression without a server", async () => {
  const next = (...args: readonly string[]) => cli("schedule", "next", ...args);
  const from = ["--from", "2030-03-30T12:00:00Z", "--count", "2"];
  expect(await next("30 2 * * *", "--time-zone", "Europe/Berlin", ...from)).toEqual({
    code: 0,
    out: "2030-03-31T01:00:00.000Z\n2030-04-01T00:30:00.000Z",
    notes: "",
  });
  expect((await next("@hourly", "--json", ...from)).out).toBe("1901106000000\n1901109600000");
  expect(await next("0 0 30 2 *")).toMatchObject({ code: 1, notes: expect.stringContaining("cron: never ticks") });
});

test("each tick makes one item although kill -9 takes the leader around one", { timeout: 60_000 }, async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  let leader = await mesh.dispatcher("a", [], '"msg":"leading"');
  const client = await mesh.client("default");
  const put = ["--cron", "* * * * * *", "--catch-up", "all", "--resource-type", "tick", "--resource-id", "t"];
  const { out } = await cli("schedule", "put", "secondly", ...put, "--json", "--nats-url", mesh.server.url);
  const first: number = JSON.parse(out).next;
  const ticks: number[] = [];
  /** Takes the items of ticks until there are so many. */
  const takeUntil = async (count: number): Promise<void> => {
    while (ticks.length < count) {
      const { leases } = await client.lease({ maxItems: 10, waitMs: 5_000 });
      for (const result of await client.getMany(leases.map(({ itemId }) => itemId)))
        if (result.kind === "ok") ticks.push(result.value.schedule?.tick ?? 0);
      await client.completeMany(leases);
    }
  };
  for (const [round, peerId] of ["b", "c"].entries()) {
    const standby = await mesh.dispatcher(peerId);
    await takeUntil(3 * (round + 1));
    // Right behind an answer that the item of a tick had.
    await leader.signal("SIGKILL");
    await standby.line('"msg":"leading"');
    leader = standby;
  }
  await takeUntil(12);
  expect(ticks).toEqual(ticks.map((_tick, index) => first + index * 1_000));
});
