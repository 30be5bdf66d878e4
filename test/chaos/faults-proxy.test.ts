/** What the drills' TCP proxy does to a connection, on real sockets. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, type TestContext, test } from "vitest";
import { TcpProxy } from "../../chaos/tcp-proxy.ts";

interface Ends {
  readonly proxy: TcpProxy;
  /** Who dialled. */
  readonly near: Socket;
  /** What the target has accepted. */
  readonly far: Socket;
  /** Everything that each side has received so far. */
  readonly received: { near: string; far: string };
}

async function connected({ onTestFinished }: TestContext): Promise<Ends> {
  const target = createServer();
  target.listen(0, "127.0.0.1");
  await once(target, "listening");
  const proxy = await TcpProxy.listen((target.address() as AddressInfo).port);
  const accepted = once(target, "connection") as Promise<[Socket]>;
  const near = connect(proxy.port, "127.0.0.1");
  const [far] = await accepted;
  onTestFinished(async () => {
    near.destroy();
    far.destroy();
    await proxy.close();
    target.close();
  });
  const received = { near: "", far: "" };
  near.on("data", (data) => {
    received.near += data.toString();
  });
  far.on("data", (data) => {
    received.far += data.toString();
  });
  for (const socket of [near, far]) socket.on("error", () => {});
  return { proxy, near, far, received };
}

const until = (claim: () => boolean) => expect.poll(claim, { interval: 1 }).toBe(true);

test("passes on what each side says, and counts it", async (context) => {
  const { proxy, near, far, received } = await connected(context);
  near.write("ping");
  await until(() => received.far === "ping");
  far.write("pong!");
  await until(() => received.near === "pong!");
  expect(proxy.counters).toMatchObject({ accepted: 1, forwardedBytes: 9, lostBytes: { up: 0, down: 0 }, reset: 0 });
});

test("loses what goes up and passes what comes down when it is cut upwards", async (context) => {
  const { proxy, near, far, received } = await connected(context);
  proxy.cut("up");
  near.write("ping");
  await until(() => proxy.counters.lostBytes.up === 4);
  far.write("pong");
  await until(() => received.near === "pong");
  expect(received.far).toBe("");
});

test("loses what comes down and passes what goes up when it is cut downwards", async (context) => {
  const { proxy, near, far, received } = await connected(context);
  proxy.cut("down");
  far.write("pong");
  await until(() => proxy.counters.lostBytes.down === 4);
  near.write("ping");
  await until(() => received.far === "ping");
  expect(received.near).toBe("");
});

test("tells nobody that the other side has gone while it is cut", async (context) => {
  const { proxy, near, far } = await connected(context);
  proxy.cut();
  far.destroy();
  near.write("ping");
  await until(() => proxy.counters.lostBytes.up === 4);
  expect(near.destroyed).toBe(false);
});

test("resets connections on which something may have been lost when it heals, and takes new ones", async (context) => {
  const { proxy, near, received } = await connected(context);
  proxy.cut();
  near.write("ping");
  await until(() => proxy.counters.lostBytes.up === 4);
  proxy.heal();
  await until(() => near.destroyed);
  const again = connect(proxy.port, "127.0.0.1");
  await once(again, "connect");
  again.destroy();
  expect(received.far).toBe("");
  expect(proxy.counters.reset).toBe(1);
});

test("keeps the order of what it delays, and loses none of it when it heals", async (context) => {
  const { proxy, near, received } = await connected(context);
  const delays = [0.9, 0.1, 0.5];
  proxy.slow({ latencyMs: 5, jitterMs: 20, random: () => delays.shift() ?? 0 });
  const startMs = performance.now();
  near.setNoDelay(true);
  near.write("a");
  await until(() => proxy.counters.delayedBytes === 1);
  near.write("b");
  await until(() => proxy.counters.delayedBytes === 2);
  near.write("c");
  await until(() => proxy.counters.delayedBytes === 3);
  proxy.heal();
  await until(() => received.far === "abc");
  // The first byte alone waits 5 + 0.9 x 20 ms; timers may fire a little early.
  expect(performance.now() - startMs).toBeGreaterThan(22);
  expect(near.destroyed).toBe(false);
});

test("resets what is open when it is told to", async (context) => {
  const { proxy, near, far } = await connected(context);
  expect(proxy.resetAll()).toBe(1);
  await until(() => near.destroyed && far.destroyed);
});

test("closes the near side when nothing listens behind it", async ({ onTestFinished }) => {
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const { port } = free.address() as AddressInfo;
  free.close();
  await once(free, "close");
  const proxy = await TcpProxy.listen(port);
  onTestFinished(() => proxy.close());
  const near = connect(proxy.port, "127.0.0.1");
  near.on("error", () => {});
  await once(near, "close");
  expect(proxy.counters.forwardedBytes).toBe(0);
});
