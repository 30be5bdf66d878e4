/** The production source of ids and chance; apart from the clock because a simulator seeds it per named draw. */
import { randomBytes } from "node:crypto";
import type { Ids } from "../../contracts/ports.ts";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** 22 characters of 62 are 130 bits: nobody guesses one and no two are equal. */
const ID_LENGTH = 22;
/** Bytes from here on would make the first characters of the alphabet more likely, so they are drawn again. */
const BYTE_LIMIT = 256 - (256 % ALPHABET.length);
const BYTES_PER_NUMBER = 6;

export function createIds(): Ids {
  return { id: randomId, random: randomFraction };
}

function randomId(): string {
  let id = "";
  while (id.length < ID_LENGTH) {
    for (const byte of randomBytes(ID_LENGTH)) {
      if (byte < BYTE_LIMIT && id.length < ID_LENGTH) id += ALPHABET[byte % ALPHABET.length];
    }
  }
  return id;
}

function randomFraction(): number {
  return randomBytes(BYTES_PER_NUMBER).readUIntBE(0, BYTES_PER_NUMBER) / 2 ** (8 * BYTES_PER_NUMBER);
}
