/**
 * Header blocks by hand. Building and decoding them with nats.js costs microseconds per header; `publish` only ever calls `encode()`,
 * so a block that is built once is enough. That is an internal of nats.js 3.4.0, held by test/jetstream/nats-internals.int.test.ts.
 */
import type { Msg, MsgHdrs } from "@nats-io/transport-node";

const encoder = new TextEncoder();

export interface Header {
  readonly name: string;
  readonly value: string;
}

/** Headers as nats.js takes them in a publish, already encoded. */
export type HeaderBlock = MsgHdrs & { encode(): Uint8Array };

/** Builds a block. Values lose line breaks and other control characters: they would start a header. */
export function headerBlock(headers: readonly Header[]): HeaderBlock {
  let text = "NATS/1.0\r\n";
  for (const { name, value } of headers) text += `${name}: ${withoutControls(value)}\r\n`;
  const bytes = encoder.encode(`${text}\r\n`);
  const block: Pick<HeaderBlock, "encode"> = { encode: () => bytes };
  return block as HeaderBlock;
}

function withoutControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must go.
  return text.replace(/[\u0000-\u001f\u007f]+/g, " ");
}

/** The fields of nats.js's message that hold the undecoded header bytes. */
interface RawMessage {
  readonly _msg?: { readonly hdr: number };
  readonly _rdata?: Uint8Array;
}

/** The undecoded header block as Latin-1 text; empty when the message has none. */
export function rawHeaders(message: Msg): string {
  const raw = message as Msg & RawMessage;
  const length = raw._msg?.hdr ?? -1;
  if (length <= 0 || raw._rdata === undefined) return "";
  return Buffer.from(raw._rdata.buffer, raw._rdata.byteOffset, length).toString("latin1");
}

/** One header of a block, by its exact name; empty when there is none. */
export function headerValue(block: string, name: string): string {
  if (block === "") return "";
  const start = block.indexOf(`\r\n${name}:`);
  if (start === -1) return "";
  const from = start + name.length + 3;
  const end = block.indexOf("\r\n", from);
  return block.slice(from, end === -1 ? undefined : end).trim();
}

/** The status code of a block (`NATS/1.0 503`); 0 when it has none. */
export function statusCode(block: string): number {
  const match = /^NATS\/1\.0 (\d{3})/.exec(block);
  return match === null ? 0 : Number(match[1]);
}
