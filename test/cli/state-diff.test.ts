/** The comparison of two states: record by record, field by field, whatever their order. */
import { expect, test } from "vitest";
import { StateDiff } from "../../services/cli/state-diff.ts";
import { canonicalState } from "../../services/core/canonical.ts";
import type { ShardState } from "../../services/core/state.ts";
import { ShardWorld } from "../core/shard-world.ts";
import { richWorld } from "./stored-log.ts";

function diff(left: Iterable<string>, right: Iterable<string>): StateDiff {
  const found = new StateDiff();
  for (const line of left) found.takeLeft(line);
  for (const line of right) found.takeRight(line);
  return found;
}
const ofStates = (left: ShardState, right: ShardState) => diff(canonicalState(left), canonicalState(right));

test("equal states have no difference", () => {
  const found = ofStates(richWorld().state, richWorld().state);
  expect(found.differences()).toEqual([]);
  expect(found.equalCount).toBe([...canonicalState(richWorld().state)].length);
});

test("a record of one side, and the fields of a record of both, are told", () => {
  const left = richWorld();
  const right = richWorld();
  right.seed(1, { resourceId: "more" });
  const [id = ""] = [...right.state.items.values()]
    .filter((item) => item.status === "leased")
    .map((item) => item.itemId);
  const lease = right.state.items.get(id)?.lease;
  if (lease !== undefined) lease.expiresAt += 5;
  const differences = ofStates(left.state, right.state).differences();
  expect(differences.map(({ table, kind }) => `${kind} ${table}`)).toEqual([
    "both meta",
    "both counts",
    "both item",
    "onlyRight item",
  ]);
  expect(differences[2]).toMatchObject({
    id,
    fields: [{ name: "lease.expiresAt", left: (lease?.expiresAt ?? 0) - 5, right: lease?.expiresAt }],
  });
  expect(differences[3]).toMatchObject({ right: { resourceId: "more" } });
  expect(ofStates(right.state, left.state).differences()[3]).toMatchObject({ kind: "onlyLeft", table: "item" });
});

test("a field that one side does not have is undefined there", () => {
  const left = 'item {"itemId":"3","attributes":{"a":"1"}}';
  const right = 'item {"itemId":"3","attributes":{"b":"1"}}';
  expect(diff([left], [right]).differences()[0]?.fields).toEqual([
    { name: "attributes.a", left: "1", right: undefined },
    { name: "attributes.b", left: undefined, right: "1" },
  ]);
});

test("a record that is there twice on one side is only there once too often", () => {
  const line = 'record {"itemId":"3","token":1}';
  const other = 'record {"itemId":"3","token":2}';
  expect(diff([line, line], [line]).differences()).toMatchObject([{ kind: "onlyLeft", id: "3" }]);
  expect(diff([line], [other, line, other]).differences()).toHaveLength(2);
});

test("the order of records and of fields does not matter", () => {
  const lines = [...canonicalState(new ShardWorld().state)];
  const meta = 'meta {"a":1,"b":{"c":2,"d":3}}';
  expect(diff([...lines, meta], ['meta {"b":{"d":3,"c":2},"a":1}', ...lines.toReversed()]).differences()).toEqual([]);
});
