/** A 64-bit hash of texts and numbers in two 32-bit halves: fast and without garbage; against forgery stands the chain, not this. */
import { jsonLength } from "./sizes.ts";

const HIGH_FACTOR = 0x9e3779b1;
const LOW_FACTOR = 0x85ebca77;
/** What each ASCII character takes as JSON besides itself. */
const ESCAPE_BYTES = Uint8Array.from({ length: 0x80 }, (_, unit) => jsonLength(String.fromCharCode(unit)) - 3);

/** A hash value as two signed 32-bit integers. */
export interface Hash64 {
  high: number;
  low: number;
}

/**
 * Takes fields one after the other. Texts are preceded by their length and absent fields are marked, so that no two lists of
 * fields read the same. `end` mixes; then `high` and `low` hold the value until the next `begin`.
 */
export class Hasher implements Hash64 {
  high = 0;
  low = 0;

  begin(): this {
    this.high = 0x243f6a88;
    this.low = 0x05a308d3;
    return this;
  }

  /** A 32-bit integer. */
  int(value: number): this {
    const high = this.high;
    const low = this.low;
    this.high = (Math.imul(((high << 13) | (high >>> 19)) ^ value, HIGH_FACTOR) + low) | 0;
    this.low = Math.imul(((low << 17) | (low >>> 15)) + (value ^ 0x5bd1e995), LOW_FACTOR);
    return this;
  }

  /** A non-negative safe integer. */
  number(value: number): this {
    return this.int(value | 0).int((value / 0x1_0000_0000) | 0);
  }

  text(text: string): this {
    const length = text.length;
    let high = this.high ^ length;
    let low = (this.low + length) | 0;
    for (let index = 0; index < length; index += 2) {
      const pair =
        index + 1 < length ? text.charCodeAt(index) | (text.charCodeAt(index + 1) << 16) : text.charCodeAt(index);
      high = (Math.imul(((high << 13) | (high >>> 19)) ^ pair, HIGH_FACTOR) + low) | 0;
      low = Math.imul(((low << 17) | (low >>> 15)) + (pair ^ 0x5bd1e995), LOW_FACTOR);
    }
    this.high = high;
    this.low = low;
    return this.int(length);
  }

  /** Takes a text, and answers its bytes as a JSON string, quotes included: both need every character, and one pass is half the work. */
  measured(text: string): number {
    const length = text.length;
    let high = this.high ^ length;
    let low = (this.low + length) | 0;
    let bytes = length + 2;
    let units = 0;
    for (let index = 0; index < length; index += 2) {
      const first = text.charCodeAt(index);
      const isPair = index + 1 < length;
      const second = isPair ? text.charCodeAt(index + 1) : 0;
      const pair = first | (second << 16);
      units |= pair;
      bytes += (ESCAPE_BYTES[first & 0x7f] as number) + (isPair ? (ESCAPE_BYTES[second & 0x7f] as number) : 0);
      high = (Math.imul(((high << 13) | (high >>> 19)) ^ pair, HIGH_FACTOR) + low) | 0;
      low = Math.imul(((low << 17) | (low >>> 15)) + (pair ^ 0x5bd1e995), LOW_FACTOR);
    }
    this.high = high;
    this.low = low;
    this.int(length);
    return (units & ~0x7f_007f) === 0 ? bytes : jsonLength(text);
  }

  optional(text: string | undefined): this {
    return text === undefined ? this.int(-1) : this.int(1).text(text);
  }

  optionalNumber(value: number | undefined): this {
    return value === undefined ? this.int(-1) : this.int(1).number(value);
  }

  /** A hash computed before. */
  hash(value: Hash64): this {
    return this.int(value.high).int(value.low);
  }

  end(): this {
    let high = this.high | 0;
    let low = this.low | 0;
    high = Math.imul(high ^ (high >>> 16) ^ (low << 7), 0x85ebca6b);
    low = Math.imul(low ^ (low >>> 15) ^ high, 0xc2b2ae35);
    high = Math.imul(high ^ (high >>> 13) ^ low, 0xc2b2ae35);
    low = Math.imul(low ^ (low >>> 16) ^ (high >>> 11), 0x27d4eb2f);
    this.high = (high ^ (high >>> 16)) | 0;
    this.low = (low ^ (low >>> 15)) | 0;
    return this;
  }

  hex(): string {
    return hexOf(this);
  }
}

/** 16 hex digits of a hash, as one flat string: joined halves would take three. */
export function hexOf({ high, low }: Hash64): string {
  return String.fromCharCode(
    hexDigit(high >>> 28),
    hexDigit(high >>> 24),
    hexDigit(high >>> 20),
    hexDigit(high >>> 16),
    hexDigit(high >>> 12),
    hexDigit(high >>> 8),
    hexDigit(high >>> 4),
    hexDigit(high),
    hexDigit(low >>> 28),
    hexDigit(low >>> 24),
    hexDigit(low >>> 20),
    hexDigit(low >>> 16),
    hexDigit(low >>> 12),
    hexDigit(low >>> 8),
    hexDigit(low >>> 4),
    hexDigit(low),
  );
}

/** Character code of the lowest four bits: 0-9, a-f. */
function hexDigit(bits: number): number {
  const digit = bits & 15;
  return digit < 10 ? 48 + digit : 87 + digit;
}

/** A sum of hashes modulo 2^64: the hash of a table, whatever the order of its records. */
export class HashSum implements Hash64 {
  high = 0;
  low = 0;

  add(high: number, low: number): void {
    const sum = (this.low >>> 0) + (low >>> 0);
    this.low = sum | 0;
    this.high = (this.high + high + (sum > 0xffff_ffff ? 1 : 0)) | 0;
  }

  subtract(high: number, low: number): void {
    const difference = (this.low >>> 0) - (low >>> 0);
    this.low = difference | 0;
    this.high = (this.high - high - (difference < 0 ? 1 : 0)) | 0;
  }
}
