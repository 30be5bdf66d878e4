/** Texts of any characters for properties: fast-check's own `unit: "binary"` takes a second to get ready in every process. */
import fc from "fast-check";

/** Any code point that may stand alone. */
const character = fc
  .oneof(fc.integer({ min: 0, max: 0xd7ff }), fc.integer({ min: 0xe000, max: 0x10ffff }))
  .map((code) => String.fromCodePoint(code));

export const anyText = (maxLength?: number): fc.Arbitrary<string> =>
  fc.string({ unit: character, ...(maxLength === undefined ? {} : { maxLength }) });
