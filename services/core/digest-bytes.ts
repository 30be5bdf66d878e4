/** Digests, 16 hex digits, as two numbers of 32 bits. */

const BYTES = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));
/** Eight digits in small letters, twice. */
const DIGEST = /^[0-9a-f]{16}$/;

export const isDigest = (text: string): boolean => DIGEST.test(text);

/** The value of the eight hex digits from a place on. */
export function hexFrom(digits: string, from: number): number {
  let value = 0;
  for (let index = from; index < from + 8; index += 1) {
    const code = digits.charCodeAt(index);
    value = (value << 4) | (code <= 0x39 ? code - 0x30 : code - 0x57);
  }
  return value >>> 0;
}

/** The eight digits of a number of 32 bits, signed or not. */
export function hexOf(value: number): string {
  const byteAt = (shift: number): string => BYTES[(value >>> shift) & 0xff] as string;
  return byteAt(24) + byteAt(16) + byteAt(8) + byteAt(0);
}
