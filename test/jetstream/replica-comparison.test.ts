/** The comparison of replicas on made-up copies: each kind of damage gets its verdict, however the pages are cut. */
import { describe, expect, test } from "vitest";
import { replicaAdvice } from "../../services/jetstream/replica-advice.ts";
import { ReplicaComparison, type ReplicaReport } from "../../services/jetstream/replica-comparison.ts";

/** A copy as text: one letter for the bytes of each message from 1 on, `.` for a message that it lacks. */
type CopyText = string;

const entriesOf = (copy: CopyText, from: number, to: number) =>
  [...copy]
    .map((digest, index) => ({ sequence: index + 1, digest }))
    .filter(({ sequence, digest }) => digest !== "." && sequence >= from && sequence <= to);

function compare(copies: readonly CopyText[], page: number, to = Math.max(...copies.map((copy) => copy.length))) {
  const comparison = new ReplicaComparison(copies.map((_copy, index) => `n${index + 1}`));
  for (let from = 1; from <= to; from += page) {
    const end = Math.min(to, from + page - 1);
    const pages = copies.map((copy) => ({
      entries: entriesOf(copy, from, end),
      goesOn: entriesOf(copy, end + 1, copy.length).length > 0,
    }));
    comparison.take(from, end, pages);
  }
  return comparison;
}

const verdicts = (reports: readonly ReplicaReport[]): string => reports.map(({ verdict }) => verdict).join(" ");

describe.each([1, 2, 3, 100])("in pages of %d", (page) => {
  test.each([
    { says: "three copies that are the same", copies: ["abcd", "abcd", "abcd"], is: "equal equal equal" },
    { says: "a hole in the midst", copies: ["abcd", "a.cd", "abcd"], is: "equal differs equal" },
    { says: "a missing beginning", copies: ["..cd", "abcd", "abcd"], is: "differs equal equal" },
    { says: "a missing end", copies: ["abcd", "abcd", "ab"], is: "equal equal behind" },
    { says: "a hole and a missing end", copies: ["abcd", "abcd", "a.c"], is: "equal equal differs" },
    { says: "an empty copy", copies: ["abcd", "", "abcd"], is: "equal behind equal" },
    { says: "other bytes on one", copies: ["abcd", "abXd", "abcd"], is: "equal differs equal" },
    { says: "other bytes on two of two", copies: ["abcd", "abXd"], is: "differs differs" },
    { says: "three different ones", copies: ["aX", "aY", "aZ"], is: "differs differs differs" },
    { says: "a message that only one holds", copies: ["a.c", "abc", "a.c"], is: "differs equal differs" },
    { says: "different holes", copies: ["a.cd", "ab.d", "abcd"], is: "differs differs equal" },
    {
      says: "five copies, two of them with other bytes",
      copies: ["ab", "ab", "ab", "aX", "aX"],
      is: "equal equal equal differs differs",
    },
    { says: "a sequence that none holds", copies: ["a.c", "a.c", "a.c"], is: "equal equal equal" },
  ])("$says: $is", ({ copies, is }) => {
    expect(verdicts(compare(copies, page).reports())).toBe(is);
  });

  test("a report says where, how much, and with whom a replica agrees", () => {
    const reports = compare(["abcdef", "a..dXf", "abcde"], page).reports();
    expect(reports).toEqual([
      {
        server: "n1",
        verdict: "equal",
        first: 1,
        last: 6,
        messages: 6,
        missing: { count: 0, first: [] },
        differsAt: 0,
        agreesWith: ["n3"],
      },
      {
        server: "n2",
        verdict: "differs",
        first: 1,
        last: 6,
        messages: 4,
        missing: { count: 2, first: [2, 3] },
        differsAt: 5,
        agreesWith: [],
      },
      {
        server: "n3",
        verdict: "behind",
        first: 1,
        last: 5,
        messages: 5,
        missing: { count: 1, first: [6] },
        differsAt: 0,
        agreesWith: ["n1"],
      },
    ]);
  });

  test("what no replica holds is counted", () => {
    expect(compare(["a..d", "a..d"], page, 6)).toMatchObject({ absent: 4, absentAt: 2 });
  });

  test("a hole at the very end of the range is no missing end when the copy goes on behind it", () => {
    expect(verdicts(compare(["abcd", "ab.d"], page, 3).reports())).toBe("equal differs");
  });
});

test("a replica that fails is unread; what it brought before counts", () => {
  const comparison = new ReplicaComparison(["n1", "n2", "n3"]);
  const whole = { entries: entriesOf("abcd", 1, 4) };
  comparison.take(1, 4, [
    whole,
    { entries: entriesOf("ab", 1, 4), failure: "gone" },
    { entries: entriesOf("a.c", 1, 4), failure: "gone" },
  ]);
  comparison.take(5, 5, [
    { entries: [{ sequence: 5, digest: "e" }] },
    { entries: [], failure: "gone" },
    { entries: [], failure: "gone" },
  ]);
  const [good, unread, damaged] = comparison.reports();
  expect(good).toMatchObject({ verdict: "equal", last: 5 });
  expect(unread).toMatchObject({
    verdict: "unread",
    last: 2,
    missing: { count: 0 },
    reason: "gone",
    agreesWith: ["n1"],
  });
  expect(damaged).toMatchObject({ verdict: "differs", last: 3, missing: { count: 1, first: [2] } });
});

test("a report names twenty missing messages and counts them all", () => {
  const [, report] = compare(["a".repeat(1_000), `a${".".repeat(998)}a`], 64).reports();
  expect(report?.missing.count).toBe(998);
  expect(report?.missing.first).toEqual(Array.from({ length: 20 }, (_, index) => index + 2));
});

describe("the advice", () => {
  const adviceFor = (copies: readonly CopyText[], leader: string, page = 100) => {
    const comparison = compare(copies, page);
    const to = Math.max(...copies.map((copy) => copy.length));
    const range = { region: "r", shard: "s", stream: "LOG", from: 1, to };
    return replicaAdvice({
      ...range,
      leader,
      absent: comparison.absent,
      absentAt: comparison.absentAt,
      replicas: comparison.reports(),
    });
  };

  test("names the copy to wipe and from whom it catches up", () => {
    expect(adviceFor(["abc", "a.c", "abc"], "n1")).toEqual([
      {
        code: "replica_differs",
        server: "n2",
        text: "the copy of LOG on n2 lacks 1 message that another replica holds, the first at 2; stop n2, delete the folder streams/LOG of the account below jetstream in its store_dir, start it again and let it catch up from n1 or n3; then audit again",
      },
    ]);
  });

  test("has a whole copy lead first, for a wiped one is filled from the leader", () => {
    const [advice] = adviceFor(["abc", "aXc", "abc"], "n2");
    expect(advice?.text).toMatch(/other bytes than the others at 2; make n1 or n3 lead \(.*\), then stop n2/);
  });

  test("wipes nothing when no copy is known to be whole", () => {
    const texts = adviceFor(["a.cd", "ab.d", "abc."], "n1").map(({ text }) => text);
    expect(texts.slice(0, 2)).toEqual([expect.stringContaining("wipe none"), expect.stringContaining("wipe none")]);
  });

  test("is silent when all is well, and speaks of messages that nobody holds", () => {
    expect(adviceFor(["abc", "abc"], "n1")).toEqual([]);
    expect(adviceFor(["a.c", "a.c"], "n1")).toEqual([
      {
        code: "replicas_gap",
        server: "",
        text: "1 message of LOG is on no replica, the first at 2; see: omnirelay log verify",
      },
    ]);
  });
});
