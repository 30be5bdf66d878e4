/** The fixed parts of items that were enqueued one after the other, as bytes outside of the heap: fewer strings to keep and to walk through. */
import { hexFrom, hexOf, isDigest } from "./digest-bytes.ts";
import { type FixedPart, OwnPart } from "./fixed-part.ts";
import { PACK_BODY_LENGTH_MAX, PACK_SPAN } from "./limits.ts";
import { numberFrom, numberStart } from "./request-id.ts";

/** What is packed of an item. */
interface Packable {
  readonly sequence: number;
  readonly part: FixedPart;
}

/**
 * Numbers of one item: both halves of its hash, the bytes of its body as JSON, where its text begins, the units of UTF-16 of its resource id in it,
 * and what its request left: where that begins, or -1, and the bytes of the id up to its number, with that number above them.
 */
const NUMBERS = 7;
const [HIGH, LOW, BODY_BYTES, START, ID_LENGTH, REQUEST, REQUEST_FORM] = [0, 1, 2, 3, 4, 5, 6] as const;
/** What a request left is its digest, then its id up to the number; entries of one request share it. Bytes. */
const DIGEST_BYTES = 8;
const [LENGTH_MASK, NUMBER_SHIFT] = [0x3ff, 10];
/** A number that is none. */
const NUMBERLESS = 1_000;
/** UTF-8 takes no more for a unit of UTF-16. */
const UNIT_BYTES_MAX = 3;

/** Scratch space, in which texts are put behind one another before it is known how long they are. */
let scratch = Buffer.allocUnsafeSlow(128 * 1_024);

/** Whether the bytes of a part lead back to it, and are not so many that packing them holds up the shard. */
export function isPackable(part: FixedPart): part is OwnPart {
  if (!(part instanceof OwnPart)) return false;
  const { resourceId, body = "", requestId, digest } = part;
  if (body.length > PACK_BODY_LENGTH_MAX || !body.isWellFormed() || !resourceId.isWellFormed()) return false;
  if (requestId === undefined || digest === undefined) return requestId === digest;
  return requestId.length * UNIT_BYTES_MAX <= LENGTH_MASK && requestId.isWellFormed() && isDigest(digest);
}

/** Written once. Invariant: the items whose part this is are `left`, and their sequences are in one span of PACK_SPAN. */
export class PackedParts implements FixedPart {
  /** Of how many items it was made, and how many have it still. */
  readonly count: number;
  left: number;
  /** By sequence in the span, which of the items it is. */
  private readonly places: Uint8Array;
  private readonly numbers: Int32Array;
  /** Of each item its resource id and its body as one text: one call reads or writes both. Then what their requests left. */
  private readonly texts: Buffer;
  private readonly textsEnd: number;

  /** `items`: of one span, at most PACK_SPAN, each with a packable part. */
  constructor(items: readonly Packable[]) {
    this.count = items.length;
    this.left = items.length;
    this.textsEnd = writeTexts(items);
    const end = writeRequests(items, this.textsEnd);
    // One piece of memory for all three.
    const numbersLength = items.length * NUMBERS;
    const textsStart = numbersLength * Int32Array.BYTES_PER_ELEMENT + PACK_SPAN;
    const bytes = new ArrayBuffer(textsStart + end);
    this.numbers = new Int32Array(bytes, 0, numbersLength);
    this.numbers.set(scratchNumbers.subarray(0, numbersLength));
    this.places = new Uint8Array(bytes, textsStart - PACK_SPAN, PACK_SPAN);
    for (let place = 0; place < items.length; place += 1)
      this.places[(items[place] as Packable).sequence % PACK_SPAN] = place;
    this.texts = Buffer.from(bytes, textsStart);
    scratch.copy(this.texts, 0, 0, end);
  }

  resourceIdOf(sequence: number): string {
    return this.textOf(sequence).slice(0, this.numberOf(sequence, ID_LENGTH));
  }

  bodyOf(sequence: number): string | undefined {
    // The body that is none takes no bytes, and the empty one two quotes.
    if (this.bodyBytesOf(sequence) === 0) return undefined;
    return this.textOf(sequence).slice(this.numberOf(sequence, ID_LENGTH));
  }

  requestIdOf(sequence: number): string | undefined {
    const from = this.numberOf(sequence, REQUEST);
    if (from < 0) return undefined;
    const form = this.numberOf(sequence, REQUEST_FORM);
    const start = from + DIGEST_BYTES;
    const text = this.texts.toString("utf8", start, start + (form & LENGTH_MASK));
    const number = form >>> NUMBER_SHIFT;
    return number === NUMBERLESS ? text : text + number;
  }

  digestOf(sequence: number): string | undefined {
    const from = this.numberOf(sequence, REQUEST);
    if (from < 0) return undefined;
    return hexOf(this.texts.readUInt32BE(from)) + hexOf(this.texts.readUInt32BE(from + 4));
  }

  bodyBytesOf(sequence: number): number {
    return this.numberOf(sequence, BODY_BYTES);
  }

  highOf(sequence: number): number {
    return this.numberOf(sequence, HIGH);
  }

  lowOf(sequence: number): number {
    return this.numberOf(sequence, LOW);
  }

  /** The part of one item as its own. */
  partOf(sequence: number): OwnPart {
    const text = this.textOf(sequence);
    const idLength = this.numberOf(sequence, ID_LENGTH);
    const bodyBytes = this.bodyBytesOf(sequence);
    const body = bodyBytes === 0 ? undefined : text.slice(idLength);
    const part = new OwnPart(text.slice(0, idLength), body, this.requestIdOf(sequence), this.digestOf(sequence));
    part.bodyBytes = bodyBytes;
    part.high = this.highOf(sequence);
    part.low = this.lowOf(sequence);
    return part;
  }

  private textOf(sequence: number): string {
    const first = (this.places[sequence % PACK_SPAN] as number) * NUMBERS;
    const end = first + NUMBERS < this.numbers.length ? this.numbers[first + NUMBERS + START] : this.textsEnd;
    return this.texts.toString("utf8", this.numbers[first + START], end);
  }

  private numberOf(sequence: number, which: number): number {
    return this.numbers[(this.places[sequence % PACK_SPAN] as number) * NUMBERS + which] as number;
  }
}

const scratchNumbers = new Int32Array(PACK_SPAN * NUMBERS);

/** Writes what is packed of some items to the scratch space; answers where their texts end. */
function writeTexts(items: readonly Packable[]): number {
  let end = 0;
  let at = 0;
  for (const { part } of items) {
    const { resourceId, body, bodyBytes, high, low } = part as OwnPart;
    const text = body === undefined ? resourceId : resourceId + body;
    reserve(end, end + UNIT_BYTES_MAX * text.length);
    scratchNumbers[at + HIGH] = high;
    scratchNumbers[at + LOW] = low;
    scratchNumbers[at + BODY_BYTES] = bodyBytes;
    scratchNumbers[at + START] = end;
    scratchNumbers[at + ID_LENGTH] = resourceId.length;
    end += scratch.write(text, end);
    at += NUMBERS;
  }
  return end;
}

/** Writes what the requests of some items left behind their texts; answers where it ends. */
function writeRequests(items: readonly Packable[], from: number): number {
  let end = from;
  /** What the request before left, where it stands, and the bytes of its text. */
  let last = { prefix: "", digest: "", at: -1, bytes: 0 };
  for (const [place, { part }] of items.entries()) {
    const { requestId, digest } = part as OwnPart;
    const at = place * NUMBERS;
    scratchNumbers[at + REQUEST] = -1;
    if (requestId === undefined || digest === undefined) continue;
    const start = numberStart(requestId);
    const number = start === requestId.length ? NUMBERLESS : numberFrom(requestId, start);
    const prefix = requestId.slice(0, start);
    if (last.at === -1 || last.prefix !== prefix || last.digest !== digest) {
      last = { prefix, digest, at: end, bytes: 0 };
      reserve(end, end + DIGEST_BYTES + UNIT_BYTES_MAX * start);
      scratch.writeUInt32BE(hexFrom(digest, 0), end);
      scratch.writeUInt32BE(hexFrom(digest, 8), end + 4);
      last.bytes = scratch.write(prefix, end + DIGEST_BYTES);
      end += DIGEST_BYTES + last.bytes;
    }
    scratchNumbers[at + REQUEST] = last.at;
    scratchNumbers[at + REQUEST_FORM] = last.bytes | (number << NUMBER_SHIFT);
  }
  return end;
}

/** Makes room up to `end`, and keeps what stands below `used`. */
function reserve(used: number, end: number): void {
  if (end <= scratch.length) return;
  const larger = Buffer.allocUnsafeSlow(2 * end);
  scratch.copy(larger, 0, 0, used);
  scratch = larger;
}
