/** The files in which a nats-server keeps its copy of a shard's stream: damaged as a disk might, or thrown away as the advice of an audit says. */
import { globSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { logStream } from "../../contracts/subjects.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";

/** Where a bit was turned over. */
export interface FlippedBit {
  readonly file: string;
  readonly byte: number;
  readonly bit: number;
}

/** Flips one bit in one of the blocks, anywhere; `draw` gives numbers in [0, 1). The server does not run. */
export function flipBit(server: NatsServer, shard: string, draw: () => number): FlippedBit {
  const blocks = blocksOf(server, shard).map((path) => ({ path, bytes: statSync(path).size }));
  let at = Math.floor(draw() * blocks.reduce((total, { bytes }) => total + bytes, 0));
  const bit = Math.floor(draw() * 8);
  for (const { path, bytes } of blocks) {
    if (at < bytes) {
      const content = readFileSync(path);
      content[at] = (content[at] ?? 0) ^ (1 << bit);
      writeFileSync(path, content);
      return { file: basename(path), byte: at, bit };
    }
    at -= bytes;
  }
  throw new Error(`${server.serverName} keeps no block of the log`);
}

/** Deletes the server's copy. The server does not run. */
export function wipe(server: NatsServer, shard: string): void {
  const [block] = blocksOf(server, shard);
  if (block === undefined) throw new Error(`${server.serverName} keeps no block of the log`);
  rmSync(dirname(dirname(block)), { recursive: true });
}

/** The newest last. */
export function blocksOf(server: NatsServer, shard: string): readonly string[] {
  const pattern = join(server.storeDir, "jetstream", "*", "streams", logStream("local", shard), "msgs", "*.blk");
  return globSync(pattern).sort(
    (one, other) => Number.parseInt(basename(one), 10) - Number.parseInt(basename(other), 10),
  );
}

/** Of all that the server logs: its copies of streams and of what its Raft groups write ahead. */
export function blockBytes(server: NatsServer): number {
  const blocks = globSync(join(server.storeDir, "jetstream", "**", "msgs", "*.blk"));
  return blocks.reduce((total, path) => total + statSync(path).size, 0);
}
