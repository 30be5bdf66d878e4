/** The bytes of a frame: the same as if the frame were written in one piece, however they were put together, and used again. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameBytes } from "../../services/dispatcher/node/frame-bytes.ts";

const text = fc.oneof(
  fc.string({ minLength: 1, unit: "grapheme" }),
  fc.nat({ max: 20_000 }).map((length) => "é".repeat(length + 1)),
);

test("texts stand behind each other with commas, between head and tail, in frame after frame", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(text, fc.array(text)), { minLength: 1, maxLength: 4 }), (frames) => {
      const bytes = new FrameBytes();
      for (const [head, texts] of frames) {
        bytes.reset();
        const counted = texts.reduce((sum, each) => sum + bytes.add(each), 0);
        const whole = Buffer.from(`${head}${texts.join(",")}]}`);
        expect(Buffer.compare(bytes.finish(head, "]}"), whole)).toBe(0);
        expect(counted).toBe(whole.length - Buffer.byteLength(`${head}]}`) + Math.min(texts.length, 1));
      }
    }),
    { numRuns: 200 },
  );
});

test("a head that is longer than the room for it moves what stands behind it", () => {
  const bytes = new FrameBytes();
  for (const length of [4_095, 4_096, 4_097, 50_000]) {
    bytes.reset();
    for (let index = 0; index < 100; index += 1) bytes.add(`{"index":${index}}`);
    const whole = bytes.finish("h".repeat(length), "]}");
    expect(Buffer.from(whole).toString()).toMatch(/^h+\{"index":0\},.*,\{"index":99\}\]\}$/);
    expect(whole.length).toBeGreaterThan(length + 1_000);
  }
});
