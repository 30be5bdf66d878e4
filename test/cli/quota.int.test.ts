/** `omnirelay quota` against a real mesh. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("quota sets, shows and removes what groups and keys may take, and workers are held to it", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default");
  const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
  expect(await ask("quota", "set", "key/db\u202e", "--leases-max", "1")).toEqual({
    code: 0,
    out: "shard default: key/db\\u202e at most 1 leases",
    notes: "",
  });
  const quota = { leasesMax: 5, rate: { count: 100, perMs: 60_000, burst: 2 }, weight: 3 };
  const given = ["--leases-max", "5", "--rate", "100/m", "--burst", "2", "--weight", "3"];
  expect(JSON.parse((await ask("quota", "set", "group/acme", ...given, "--json")).out)).toEqual({
    name: "group/acme",
    quota,
  });
  await ask("enqueue", "--resource-type", "t", "--resource-id", "1", "--group", "acme", "--quota-key", "db\u202e");
  const second = await client.enqueue({ resourceType: "t", resourceId: "2", quotaKey: "db\u202e" });
  const { leases } = await client.lease({ maxItems: 10 });
  expect(leases).toHaveLength(1);
  expect((await ask("explain", second.itemId)).out).toMatch(/quotaFull.*key\/db.* has 1 leases, its quota is 1/);
  const listed = (await ask("quota", "list", "--json")).out.split("\n").map((line) => JSON.parse(line));
  expect(listed).toEqual([
    { name: "group/acme", quota, leased: 1 },
    { name: "key/db\u202e", quota: { leasesMax: 1 }, leased: 1 },
  ]);
  expect((await ask("quota", "list")).out.split("\n")[0]).toMatch(
    /^group\/acme +at most 5 leases, 100 grants per 60000 ms, 2 at once, weight 3 +1 leased$/,
  );
  expect((await ask("quota", "remove", "key/db\u202e")).code).toBe(0);
  expect((await client.lease({ maxItems: 10 })).leases.map(({ itemId }) => itemId)).toEqual([second.itemId]);
  const pages: string[] = [];
  for await (const { name } of client.quotasAll()) pages.push(name);
  expect(pages).toEqual(["group/acme"]);
});

test.each([
  ["quota set key/a", /give --leases-max, --rate or --weight/],
  ["quota set key/a --weight 2", /only a group has a weight/],
  ["quota set team/a --leases-max 1", /must be group\/NAME/],
  ["quota set group/ --leases-max 1", /must be group\/NAME/],
  ["quota set key/a --rate 10", /must be COUNT\/TIME/],
  ["quota set key/a --rate 0/s", /whole number from 1/],
  ["quota set key/a --rate 1/400d", /perMs|Too big/],
  ["quota set key/a --burst 5 --leases-max 1", /--burst goes with --rate/],
  ["quota set key/a --rate 1/d --burst 1000", /the burst would take more than/],
  ["quota set key/a --leases-max -1", /whole number from 0/],
])("%s is wrong usage, told without asking anybody", async (line, told) => {
  const { code, notes } = await cli(...line.split(" "));
  expect({ code, notes }).toEqual({ code: 2, notes: expect.stringMatching(told) });
});
