/** The checker knows what a unique key answers, and believes no end that nobody asked for. */
import { expect, test } from "vitest";
import { judge } from "../../chaos/checker.ts";
import { buildHistory } from "./history-builder.ts";
import { appendEvent, askedOf, type EditedRun, editedCopy, eventsOf, first, okOf, resultsOf } from "./history-edits.ts";

const history = buildHistory(4, 200, { hasKeys: true });

function violated(run: EditedRun): readonly string[] {
  const { invariants } = judge(run);
  return Object.keys(invariants).filter((name) => (invariants[name]?.violated ?? 0) > 0);
}

/** Answers of enqueues without an id of their own that were given the item that has the unique key. */
function metKeys(run: EditedRun) {
  return okOf(run, "enqueue").flatMap((operation) =>
    askedOf(operation, "items").flatMap((asked, index) => {
      const answer = resultsOf(operation)[index];
      const isMet = asked["uniqueKey"] !== undefined && answer?.["duplicate"] === true;
      return isMet && operation.args["requestId"] === undefined ? [{ asked, answer }] : [];
    }),
  );
}

test("a history with unique keys is valid", () => {
  expect(metKeys(editedCopy(history)).length).toBeGreaterThan(0);
  expect(judge(history)).toMatchObject({ status: "valid", reasons: [] });
});

test("an answer with an item that does not have the unique key is caught", () => {
  const run = editedCopy(history);
  const { asked, answer } = first(metKeys(run));
  const isOther = ({ event }: { event: { type: string; item?: { uniqueKey?: string } } }) =>
    event.type === "enqueued" && event.item?.uniqueKey !== undefined && event.item.uniqueKey !== asked["uniqueKey"];
  const other = first(eventsOf(run), (placed) => isOther(placed as never));
  Object.assign(answer, { itemId: other.event.itemId, sequence: other.sequence });
  expect(violated(run)).toContain("F7");
});

test("an answer with an item that has ended before is caught", () => {
  const run = editedCopy(history);
  const lasts = metKeys(run).map(({ asked, answer }) => {
    const earlier = eventsOf(run).filter(({ event, sequence }) => {
      const item = event["item"] as { uniqueKey?: string } | undefined;
      return item?.uniqueKey === asked["uniqueKey"] && sequence < Number(answer["sequence"]);
    });
    return { answer, earlier: earlier[0] };
  });
  const { answer, earlier } = first(lasts, (each) => each.earlier !== undefined);
  Object.assign(answer, { itemId: earlier?.event.itemId, sequence: earlier?.sequence });
  expect(violated(run)).toContain("F7");
});

test.each(["cancelled", "purged", "redriven"])("that an item is %s, which nobody asked for, is caught", (type) => {
  const run = editedCopy(history);
  const { event, actor } = first(eventsOf(run), (placed) => placed.event.type === "leased");
  const { itemId = "", resourceType, resourceId } = event;
  const outcome = type === "cancelled" ? { outcome: "ended" } : {};
  if (actor !== undefined) appendEvent(run, { type, itemId, resourceType, resourceId, ...outcome }, actor);
  expect(violated(run)).toContain("Q2");
});
