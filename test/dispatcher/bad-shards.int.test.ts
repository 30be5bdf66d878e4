/** A dispatcher of several shards of which some cannot be served: the others are, and who asks hears which are not and why. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { forgedAfter, logHand } from "../support/log-hand.ts";
import { testMesh } from "../support/mesh.ts";
import { dispatcherHost } from "../support/mesh-host.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { allow, denying } from "../support/nats-rights.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const ITEM = { resourceType: "t", resourceId: "r" };
const READY = '"msg":"ready"';

test("a shard whose node halts at the start, and one whose log is another, keep no other shard and no other role from starting", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  const args = ["--shards", "forked,good,gone"];
  const a = await mesh.dispatcher("a", args);
  await a.signal("SIGTERM");
  const forked = await logHand(mesh.server.url, { shard: "forked" }, onTestFinished);
  await forked.publish(forgedAfter(await forked.read((await forked.bounds()).last)), true);
  const gone = await logHand(mesh.server.url, { shard: "gone" }, onTestFinished);
  await gone.remove();

  const host = await dispatcherHost(mesh, "b", args, onTestFinished);
  const client = await mesh.client("good");
  await client.enqueue(ITEM);
  expect((await client.stats({ consistent: true })).leader).toBe(host.peerId);
  const { ready, reasons } = await host.readiness();
  expect(ready).toBe(false);
  const [told = ""] = reasons.filter((reason) => reason.startsWith("dispatcher: "));
  expect(told).toMatch(/forked: log_fork: .*the log forked/);
  expect(told).toMatch(/gone: log_identity: .*the stream is missing/);
  expect(told).toContain("led or followed: good");
  expect(host.child.exitCode).toBeNull();
  await host.signal("SIGTERM");
  expect(await host.ended).toBe(0);
});

test("a dispatcher of which no shard can be served says so and ends", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("a");
  const forked = await logHand(mesh.server.url, { shard: "default" }, onTestFinished);
  await forked.publish(forgedAfter(await forked.read((await forked.bounds()).last)), true);
  const b = mesh.start("b");
  expect(await b.line("omnirelay dispatcher:")).toMatch(/shard default: .*the log forked/);
  expect(await b.ended).toBe(1);
  const c = mesh.start("c", ["--shards", "one,two", "--no-provision"]);
  expect(await c.line("omnirelay dispatcher:")).toMatch(/shard one in region local has no log yet/);
  expect(await c.ended).toBe(1);
});

test("a shard whose log cannot be asked for is served as soon as it can, beside the others", async ({
  onTestFinished,
}) => {
  const denied = "$JS.API.STREAM.INFO.LEASE_LOG_local_late";
  const mesh = await testMesh(onTestFinished, { extraConfig: denying(denied, "everybody") });
  const a = await mesh.dispatcher("a", ["--shards", "late,good"]);
  expect(await a.line(READY)).toMatch(/late: nats_denied: .*led or followed: good/);
  const [good, late] = await Promise.all([mesh.client("good"), mesh.client("late")]);
  expect((await good.enqueue(ITEM)).duplicate).toBe(false);
  allow(mesh.server, denied);
  await late.enqueue(ITEM, { timeoutMs: 20_000 });
  expect((await late.stats({ consistent: true })).leader).toBe("a");
});
