/** A replicator that dies without a word is followed by the one that stands by. */
import { expect, test, vi } from "vitest";
import { connectNats } from "../../services/jetstream/connect.ts";
import { cleanup, items, linesOf, replicatorBed, untilLines } from "./replicator-bed.ts";

test("goes on after SIGKILL without a hole, and a second process stands by", async () => {
  const { client, file, replicator, cli } = await replicatorBed();
  const first = replicator("r1");
  await first.line('"msg":"ready"');
  await client.enqueueMany(items(50));
  await untilLines(file, (lines) => lines.length >= 52);
  const second = replicator("r2");
  await second.line('"msg":"ready"');
  await first.signal("SIGKILL");
  const { sequence } = await client.enqueue({ resourceType: "t", resourceId: "last" });
  await untilLines(file, (lines) => lines.includes(sequence));
  const seen = [...new Set(linesOf(file))];
  expect(seen).toEqual(Array.from({ length: seen.length }, (_, index) => index + 1));
  const listed = await cli("sink", "list", "--json");
  const sink = listed.out.map((line) => JSON.parse(line)).find(({ follower }) => follower === "lines");
  expect(sink).toMatchObject({
    shard: "default",
    checkpoint: { state: "running", owner: expect.stringMatching(/^r2\//) },
  });
});

test("goes on when somebody removes the bucket of the checkpoints", async () => {
  const { mesh, client, file, replicator, cli } = await replicatorBed();
  await replicator("r1").line('"msg":"ready"');
  await client.enqueueMany(items(5));
  await untilLines(file, (lines) => lines.length >= 7);
  const connection = await connectNats({ servers: mesh.server.url, name: "vandal" });
  cleanup(() => connection.close());
  await connection.request("$JS.API.STREAM.DELETE.KV_omnirelay-checkpoints", "");
  const { sequence } = await client.enqueue({ resourceType: "t", resourceId: "last" });
  await untilLines(file, (lines) => lines.includes(sequence));
  await vi.waitFor(
    async () => expect((await cli("sink", "list", "--json")).out.join("")).toContain('"state":"running"'),
    { timeout: 20_000, interval: 200 },
  );
});
