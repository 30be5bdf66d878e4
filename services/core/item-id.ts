/** Item ids: an id is a whole number in base 36, the sequence of its enqueue with the epoch above it. */
import { TOKEN_EPOCH_STEP } from "../../contracts/limits.ts";

const BASE = 36;
/** Longer ids are above every token. Characters. */
const ID_LENGTH_MAX = 11;
const PAIR = BASE * BASE;
/** Two digits of an id by their value: an id is put together by pairs, which takes a part of the time of `toString(36)`. */
const PAIRS = Array.from({ length: PAIR }, (_, value) => value.toString(BASE).padStart(2, "0"));

/** Ids that were needed last: what happens to an item names it several times within a batch. A power of two. */
const RECENT = 1_024;
const recentNumbers = new Float64Array(RECENT).fill(-1);
const recentIds = new Array<string>(RECENT).fill("");

/** The id that a whole number is, 0 or above. */
export function itemIdOfNumber(number: number): string {
  const place = number & (RECENT - 1);
  if (recentNumbers[place] === number) return recentIds[place] as string;
  const itemId = joined(number);
  recentNumbers[place] = number;
  recentIds[place] = itemId;
  return itemId;
}

function joined(number: number): string {
  let text = "";
  let rest = number;
  while (rest >= PAIR) {
    const above = Math.floor(rest / PAIR);
    text = (PAIRS[rest - above * PAIR] as string) + text;
    rest = above;
  }
  const first = PAIRS[rest] as string;
  return (rest < BASE ? first.charAt(1) : first) + text;
}

/** The number that an id is; -1 when the text is no id. */
export function numberOfItemId(itemId: string): number {
  const { length } = itemId;
  if (length === 0 || length > ID_LENGTH_MAX || (length > 1 && itemId.charCodeAt(0) === 0x30)) return -1;
  let number = 0;
  for (let index = 0; index < length; index += 1) {
    const code = itemId.charCodeAt(index);
    if (code >= 0x30 && code <= 0x39) number = number * BASE + (code - 0x30);
    else if (code >= 0x61 && code <= 0x7a) number = number * BASE + (code - 0x57);
    else return -1;
  }
  if (number > Number.MAX_SAFE_INTEGER) return -1;
  // An id has no zeros in front: it is the text of its number.
  const place = number & (RECENT - 1);
  recentNumbers[place] = number;
  recentIds[place] = itemId;
  return number;
}

/** The event sequence in the number of an id. */
export const sequenceOfNumber = (number: number): number =>
  number < TOKEN_EPOCH_STEP ? number : number % TOKEN_EPOCH_STEP;
