/** Which addresses a sink may connect to: judged by what a name resolves to, and the one that was judged is the one that is used. */
import { expect, onTestFinished, test } from "vitest";
import { guardedLookup, isPublicAddress } from "../../services/replication/sinks/http-address.ts";
import { HttpPoster } from "../../services/replication/sinks/http-poster.ts";
import { webhookKind } from "../../services/replication/sinks/webhook-sink.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { refusalOf, startHook } from "./outside-bed.ts";

const PUBLIC = [
  "1.1.1.1",
  "8.8.8.8",
  "172.15.255.255",
  "172.32.0.0",
  "100.63.0.1",
  "2606:4700::1111",
  "64:ff9b::808:808",
];
const NOT_PUBLIC = [
  ...[
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.0.9",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
  ],
  ...["192.168.1.1", "192.0.0.192", "198.18.0.1", "203.0.113.9", "224.0.0.1", "255.255.255.255", "168.63.129.16"],
  ...["::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2002:7f00:1::"],
  ...[
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:0",
    "2001::1",
    "100::1",
    "localhost",
    "",
  ],
];
test("only those of the public internet count as public", () => {
  expect(PUBLIC.filter((address) => !isPublicAddress(address))).toEqual([]);
  expect(NOT_PUBLIC.filter(isPublicAddress)).toEqual([]);
});

test("a name is judged by what it resolves to, each time anew, and by all of it", async () => {
  const answers = [["1.1.1.1"], ["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["1.1.1.1", "8.8.8.8"], []];
  const lookup = guardedLookup(false, (_host, callback) =>
    callback(
      null,
      (answers.shift() ?? []).map((address) => ({ address, family: 4 })),
    ),
  );
  const ask = (all: boolean): Promise<unknown> =>
    new Promise((resolve) => lookup("hook.example", { all }, (error, address) => resolve(error?.message ?? address)));
  const refused = (address: string): string =>
    `hook.example is ${address}, which is no public address; if the host is your own, set allowPrivate`;
  expect(await ask(false)).toBe("1.1.1.1");
  expect(await ask(false)).toBe(refused("127.0.0.1"));
  expect(await ask(true)).toBe(refused("10.0.0.1"));
  expect(await ask(true)).toEqual([
    { address: "1.1.1.1", family: 4 },
    { address: "8.8.8.8", family: 4 },
  ]);
  expect(await ask(true)).toBe("hook.example has no address");
});

test("a connection goes to the address that was judged, and to no other", async () => {
  const hook = await startHook(onTestFinished);
  const url = hook.url.replace("127.0.0.1", "hook.example");
  const asked: string[] = [];
  const poster = (allowPrivate: boolean): HttpPoster => {
    const { secrets: _, ...endpoint } = webhookKind.options.parse({
      ...{ url: url.replace("http:", allowPrivate ? "http:" : "https:"), allowHosts: ["hook.example"], allowPrivate },
      secrets: [{ env: "HOOK_SECRET" }],
    }) as { secrets: unknown } & ConstructorParameters<typeof HttpPoster>[0];
    const made = new HttpPoster(endpoint, createClock(), (host, callback) => {
      asked.push(host);
      callback(null, [{ address: "127.0.0.1", family: 4 }]);
    });
    onTestFinished(() => made.close());
    return made;
  };
  expect(await poster(true).post(Buffer.from("{}"), {}, new AbortController().signal)).toEqual({ kind: "done" });
  expect(hook.taken[0]?.headers.host).toBe(new URL(url).host);
  const error = await refusalOf(poster(false).post(Buffer.from("{}"), {}, new AbortController().signal));
  expect([error.code, error.definite, error.details]).toEqual([
    "address_not_allowed",
    true,
    { host: "hook.example", address: "127.0.0.1" },
  ]);
  expect([hook.all.length, asked]).toEqual([1, ["hook.example", "hook.example"]]);
});
