/** Request ids of the entries of one request: equal up to the number at their end, so that what many share is kept once. */

/** Digits of that number: a request has at most 1,000 entries. */
const DIGITS_MAX = 3;
const [SLASH, DOT, ZERO, NINE] = [0x2f, 0x2e, 0x30, 0x39];

/** Where the number of an id begins: behind a slash or a dot, without zeros in front. The length of the id when it has none. */
export function numberStart(requestId: string): number {
  const { length } = requestId;
  let start = length;
  while (start > 0 && length - start < DIGITS_MAX && isDigit(requestId.charCodeAt(start - 1))) start -= 1;
  if (start === length || start === 0) return length;
  const before = requestId.charCodeAt(start - 1);
  if (before !== SLASH && before !== DOT) return length;
  return requestId.charCodeAt(start) === ZERO && length - start > 1 ? length : start;
}

/** The number that begins there. */
export function numberFrom(requestId: string, start: number): number {
  let number = 0;
  for (let index = start; index < requestId.length; index += 1)
    number = number * 10 + requestId.charCodeAt(index) - ZERO;
  return number;
}

const isDigit = (code: number): boolean => code >= ZERO && code <= NINE;
