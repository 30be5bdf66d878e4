/** The fixed parts of items that were enqueued one after the other, as bytes outside of the heap: fewer strings to keep and to walk through. */
import { hexFrom, hexOf, isDigest } from "./digest-bytes.ts";
import { type FixedPart, OwnPart } from "./fixed-part.ts";
import { PACK_BODY_LENGTH_MAX, PACK_SPAN } from "./limits.ts";

/** What is packed of an item. */
interface Packable {
  readonly sequence: number;
  readonly part: FixedPart;
}

/**
 * Numbers of one item: both halves of its hash and of the digest of its request, the bytes of its body as JSON, where its text begins, and the
 * units of UTF-16 in it of its resource id and of its request id, which stands at the end. One that has none has -1 of these.
 */
const NUMBERS = 8;
const [HIGH, LOW, BODY_BYTES, START, ID_LENGTH] = [0, 1, 2, 3, 4] as const;
const [REQUEST_LENGTH, DIGEST_HIGH, DIGEST_LOW] = [5, 6, 7] as const;
/** UTF-8 takes no more for a unit of UTF-16. */
const UNIT_BYTES_MAX = 3;

/** Scratch space, in which texts are put behind one another before it is known how long they are. */
let scratch = Buffer.allocUnsafeSlow(128 * 1_024);

/** Whether the bytes of a part lead back to it, and are not so many that packing them holds up the shard. */
export function isPackable(part: FixedPart): part is OwnPart {
  if (!(part instanceof OwnPart)) return false;
  const { resourceId, body = "", requestId = "", digest } = part;
  if (body.length > PACK_BODY_LENGTH_MAX || !body.isWellFormed() || !resourceId.isWellFormed()) return false;
  return part.requestId === undefined
    ? digest === undefined
    : requestId.isWellFormed() && digest !== undefined && isDigest(digest);
}

/** Written once. Invariant: the items whose part this is are `left`, and their sequences are in one span of PACK_SPAN. */
export class PackedParts implements FixedPart {
  /** Of how many items it was made, and how many have it still. */
  readonly count: number;
  left: number;
  /** By sequence in the span, which of the items it is. */
  private readonly places: Uint8Array;
  private readonly numbers: Int32Array;
  /** Of each item its resource id, its body and its request id as one text: one call reads or writes them. */
  private readonly texts: Buffer;

  /** `items`: of one span, at most PACK_SPAN, each with a packable part. */
  constructor(items: readonly Packable[]) {
    this.count = items.length;
    this.left = items.length;
    const end = writeTexts(items);
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
    const text = this.textOf(sequence);
    return text.slice(this.numberOf(sequence, ID_LENGTH), this.requestStart(sequence, text));
  }

  requestIdOf(sequence: number): string | undefined {
    if (this.numberOf(sequence, REQUEST_LENGTH) < 0) return undefined;
    const text = this.textOf(sequence);
    return text.slice(this.requestStart(sequence, text));
  }

  digestOf(sequence: number): string | undefined {
    if (this.numberOf(sequence, REQUEST_LENGTH) < 0) return undefined;
    return hexOf(this.numberOf(sequence, DIGEST_HIGH)) + hexOf(this.numberOf(sequence, DIGEST_LOW));
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
    const requestStart = this.requestStart(sequence, text);
    const digest = this.digestOf(sequence);
    const part = new OwnPart(
      text.slice(0, idLength),
      bodyBytes === 0 ? undefined : text.slice(idLength, requestStart),
      digest === undefined ? undefined : text.slice(requestStart),
      digest,
    );
    part.bodyBytes = bodyBytes;
    part.high = this.highOf(sequence);
    part.low = this.lowOf(sequence);
    return part;
  }

  private textOf(sequence: number): string {
    const first = (this.places[sequence % PACK_SPAN] as number) * NUMBERS;
    const end = first + NUMBERS < this.numbers.length ? this.numbers[first + NUMBERS + START] : this.texts.length;
    return this.texts.toString("utf8", this.numbers[first + START], end);
  }

  /** Where the request id begins in the text of an item; its end where there is none. */
  private requestStart(sequence: number, text: string): number {
    return text.length - Math.max(0, this.numberOf(sequence, REQUEST_LENGTH));
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
    const { resourceId, body = "", requestId, digest, bodyBytes, high, low } = part as OwnPart;
    const text = resourceId + body + (requestId ?? "");
    reserve(end, end + UNIT_BYTES_MAX * text.length);
    scratchNumbers[at + HIGH] = high;
    scratchNumbers[at + LOW] = low;
    scratchNumbers[at + BODY_BYTES] = bodyBytes;
    scratchNumbers[at + START] = end;
    scratchNumbers[at + ID_LENGTH] = resourceId.length;
    scratchNumbers[at + REQUEST_LENGTH] = requestId?.length ?? -1;
    if (digest !== undefined) {
      scratchNumbers[at + DIGEST_HIGH] = hexFrom(digest, 0);
      scratchNumbers[at + DIGEST_LOW] = hexFrom(digest, 8);
    }
    end += scratch.write(text, end);
    at += NUMBERS;
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
