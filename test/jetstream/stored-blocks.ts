/** The files in which one server keeps its copy of a stream: found, and damaged as a disk might, while the server is stopped. */
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";

/** The server's folder of the stream. */
function streamFolder(server: NatsServer, stream: string): string {
  const [block] = blocksOf(server, stream);
  if (block === undefined) throw new Error(`${server.serverName} keeps no block of ${stream}`);
  return dirname(dirname(block));
}

/** Flips one bit in the stored message whose payload holds the text. */
export function flipBit(server: NatsServer, stream: string, text: string): void {
  for (const block of blocksOf(server, stream)) {
    const bytes = readFileSync(block);
    const at = bytes.indexOf(text);
    if (at === -1) continue;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(block, bytes);
    return;
  }
  throw new Error(`no block of ${server.serverName} holds ${text}`);
}

/** Cuts the newest block in the middle of the message whose payload holds the text. */
export function cutAt(server: NatsServer, stream: string, text: string): void {
  const block = blocksOf(server, stream).at(-1) ?? "";
  const bytes = readFileSync(block);
  writeFileSync(block, bytes.subarray(0, bytes.indexOf(text)));
}

/** What the advice of an audit says: the server's folder of the stream goes. */
export function wipe(server: NatsServer, stream: string): void {
  rmSync(streamFolder(server, stream), { recursive: true });
}

function blocksOf(server: NatsServer, stream: string): readonly string[] {
  return globSync(join(server.storeDir, "jetstream", "*", "streams", stream, "msgs", "*.blk")).sort();
}
