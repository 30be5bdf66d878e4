/** The short way through the parser, from the bytes on: whatever JSON can say twice, oddly or too deep, a command is what the schema reads. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { REQUESTS } from "../../contracts/commands.ts";
import type { Verb } from "../../contracts/subjects.ts";
import { parseCommand } from "../../services/core/parse.ts";

/** Texts of values: numbers in all their spellings, escapes, empty and nested things. */
const VALUES = [
  ...["0", "1", "-0", "1.0", "1e0", "1e3", "0.1e1", "9007199254740991", "9007199254740992", "1e999", "-1", "5E-1"],
  ...['"a"', '""', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0061"', '"\\u0000"', '"--"', '"none"', '"partition"'],
  ...["null", "true", "[]", "{}", '["a"]', '["a","a"]', "[[]]", '[""]', '{"a":1}', "[".repeat(40) + "]".repeat(40)],
];
const NAMES: Readonly<Record<string, readonly string[]>> = {
  enqueue: ["resourceType", "resourceId", "partitionKey", "body", "exclusivity", "priority", "group", "requestId"],
  complete: ["itemId", "token", "result"],
  heartbeat: ["itemId", "token"],
  release: ["itemId", "token"],
};
const OUTER = ["requestId", "timeoutMs", "after", "peerId", "maxItems", "waitMs", "leaseDurationMs", "resourceTypes"];
const ODD_NAMES = ["__proto__", "constructor", "toString", "\\u0062ody", "items", ""];

const value = fc.constantFrom(...VALUES);
const fieldsOf = (names: readonly string[], lengthMax: number): fc.Arbitrary<string[]> =>
  fc.array(
    fc
      .tuple(
        fc.oneof(
          { weight: 12, arbitrary: fc.constantFrom(...names) },
          { weight: 1, arbitrary: fc.constantFrom(...ODD_NAMES) },
        ),
        value,
      )
      .map(([name, text]) => `"${name}":${text}`),
    { maxLength: lengthMax },
  );

/** The fields that an entry has to have, and then others, which may be the same again: of duplicate names the last counts. */
const entryOf = (verb: string): fc.Arbitrary<string> =>
  fieldsOf(NAMES[verb] ?? ["itemId"], 3).map((more) => {
    const needed = verb === "enqueue" ? ['"resourceType":"t"', '"resourceId":"r"'] : ['"itemId":"i"', '"token":1'];
    return `{${[...needed, ...more].join(",")}}`;
  });

const request = fc.constantFrom<Verb>("enqueue", "complete", "heartbeat", "release", "lease").chain((verb) => {
  const outer = fieldsOf(OUTER, 2);
  const entries = fc.array(entryOf(verb), { maxLength: 3 });
  return fc.tuple(fc.constant(verb), outer, entries).map(([, fields, list]) => {
    const own = verb === "lease" ? [] : [`"${verb === "enqueue" ? "items" : "leases"}":[${list.join(",")}]`];
    return { verb, text: `{${[...fields, ...own].join(",")}}` };
  });
});

test("a command is what the schema reads of the same text, and what the schema refuses is refused", () => {
  const taken = new Map<Verb, number>();
  fc.assert(
    fc.property(request, ({ verb, text }) => {
      const command = parseCommand(verb, Buffer.from(text));
      const parsed = REQUESTS[verb].safeParse(JSON.parse(text));
      if ("error" in command) return;
      taken.set(verb, (taken.get(verb) ?? 0) + 1);
      expect(parsed.error).toBeUndefined();
      expect(command.request).toEqual(parsed.data);
      expect(Object.getPrototypeOf(command.request)).toBe(Object.prototype);
    }),
    { numRuns: 10_000 },
  );
  expect([...taken.keys()].sort()).toEqual(["complete", "enqueue", "heartbeat", "lease", "release"]);
  for (const times of taken.values()) expect(times).toBeGreaterThan(40);
});
