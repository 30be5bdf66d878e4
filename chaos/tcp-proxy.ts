/**
 * A TCP proxy that behaves as a network may: silent, deaf in one direction, slow, or resetting. What it did is counted, as evidence that a
 * fault was really there.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** `up`: from the side that dials to the target. `down`: back. */
export type Direction = "up" | "down";
const DIRECTIONS: readonly Direction[] = ["up", "down"];
const HOST = "127.0.0.1";

export interface Delay {
  readonly latencyMs: number;
  /** Added to the latency, between 0 and this. Bytes keep their order. ms. */
  readonly jitterMs: number;
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

/** What the proxy has done since it was made. */
export interface ProxyCounters {
  /** Connections accepted. */
  readonly accepted: number;
  readonly forwardedBytes: number;
  readonly lostBytes: Readonly<Record<Direction, number>>;
  readonly delayedBytes: number;
  /** Connections that were open and that the proxy has reset. */
  readonly reset: number;
}

/** Invariant: every open socket is in `#pairs` under itself, with the socket on its other side. */
export class TcpProxy {
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #pairs = new Map<Socket, Socket>();
  readonly #silent = new Set<Direction>();
  #delay: Delay | undefined;
  #accepted = 0;
  #forwardedBytes = 0;
  readonly #lostBytes: Record<Direction, number> = { up: 0, down: 0 };
  #delayedBytes = 0;
  #reset = 0;

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = createServer((near) => this.#accept(near));
  }

  /** Listens on a free port of this machine and passes on to a port of this machine; nothing needs to listen there yet. */
  static async listen(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    proxy.#server.listen(0, HOST);
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get counters(): ProxyCounters {
    return {
      accepted: this.#accepted,
      forwardedBytes: this.#forwardedBytes,
      lostBytes: { ...this.#lostBytes },
      delayedBytes: this.#delayedBytes,
      reset: this.#reset,
    };
  }

  /** From now on what is sent in that direction, or in both, is lost, also on new connections, and nobody is told. */
  cut(direction?: Direction): void {
    for (const each of direction === undefined ? DIRECTIONS : [direction]) this.#silent.add(each);
  }

  /** From now on everything takes longer, in both directions. */
  slow(delay: Delay): void {
    this.#delay = delay;
  }

  /** Lets everything through again. Where something may have been lost, the old connections are reset: it cannot be made good on them. */
  heal(): void {
    this.#delay = undefined;
    if (this.#silent.size === 0) return;
    this.#silent.clear();
    this.resetAll();
  }

  /** Resets every open connection, as a router does that has forgotten them. Answers how many there were. */
  resetAll(): number {
    const count = Math.ceil(this.#pairs.size / 2);
    for (const socket of [...this.#pairs.keys()]) socket.resetAndDestroy();
    this.#reset += count;
    return count;
  }

  async close(): Promise<void> {
    for (const socket of [...this.#pairs.keys()]) socket.resetAndDestroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(near: Socket): void {
    this.#accepted += 1;
    const far = connect(this.#targetPort, HOST);
    this.#relay(near, far, "up");
    this.#relay(far, near, "down");
  }

  #relay(from: Socket, to: Socket, direction: Direction): void {
    this.#pairs.set(from, to);
    from.setNoDelay(true);
    const line = new DelayLine();
    // A reset by either side is what a network does; the other side hears it by the close.
    from.on("error", () => {});
    from.on("data", (data) => {
      const delay = this.#delay;
      if (delay !== undefined) this.#delayedBytes += data.length;
      line.pass(delay, () => this.#forward(from, to, direction, data));
    });
    from.on("close", () => {
      this.#pairs.delete(from);
      line.pass(this.#delay, () => {
        if (!this.#silent.has(direction)) to.destroy();
      });
    });
  }

  #forward(from: Socket, to: Socket, direction: Direction, data: Buffer): void {
    if (this.#silent.has(direction)) {
      this.#lostBytes[direction] += data.length;
      return;
    }
    this.#forwardedBytes += data.length;
    if (to.destroyed || to.write(data)) return;
    from.pause();
    to.once("drain", () => from.resume());
  }
}

/** Lets steps happen later, in the order in which they came in. */
class DelayLine {
  readonly #waiting: { readonly dueMs: number; readonly step: () => void }[] = [];

  pass(delay: Delay | undefined, step: () => void): void {
    const nowMs = performance.now();
    const lastMs = this.#waiting.at(-1)?.dueMs ?? 0;
    const ownMs = delay === undefined ? nowMs : nowMs + delay.latencyMs + delay.jitterMs * delay.random();
    if (this.#waiting.length === 0 && ownMs <= nowMs) step();
    else if (this.#waiting.push({ dueMs: Math.max(lastMs, ownMs), step }) === 1) this.#wait();
  }

  #wait(): void {
    const [first] = this.#waiting;
    if (first !== undefined) setTimeout(() => this.#release(), Math.max(0, first.dueMs - performance.now()));
  }

  #release(): void {
    const nowMs = performance.now();
    const count = this.#waiting.findIndex(({ dueMs }) => dueMs > nowMs);
    for (const { step } of this.#waiting.splice(0, count === -1 ? this.#waiting.length : count)) step();
    this.#wait();
  }
}
