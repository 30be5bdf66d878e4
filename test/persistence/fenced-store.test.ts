/** What the fence promises: no lower token writes after a higher one, an effect is applied at most once, and nothing is half done. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "better-sqlite3";
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { FencedStore, openSqlite } from "../../services/persistence/mod.ts";

let folder: string;
beforeEach(({ onTestFinished }) => {
  folder = mkdtempSync(join(tmpdir(), "omnirelay-fence-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});
const migrate = (db: Database): void => db.exec("CREATE TABLE IF NOT EXISTS line (text TEXT NOT NULL)") as never;
const open = (): FencedStore => FencedStore.open(join(folder, "a.db"), { migrate });
const put = (text: string) => (db: Database) => db.prepare("INSERT INTO line VALUES (?)").run(text).changes;
const lines = (store: FencedStore): unknown[] =>
  store.database.prepare("SELECT text FROM line ORDER BY rowid").pluck().all();

test("a lower token is refused and changes nothing", () => {
  const store = open();
  expect(store.write({ fenceKey: "k", token: 7 }, put("new"))).toEqual({ kind: "applied", value: 1 });
  expect(store.write({ fenceKey: "k", token: 6, effectId: "e" }, put("old"))).toEqual({
    kind: "rejected",
    code: "stale_token",
    highestToken: 7,
  });
  expect([lines(store), store.highestToken("k"), store.effectCount]).toEqual([["new"], 7, 0]);
  store.close();
});

test("an equal token is the same lease and writes again", () => {
  const store = open();
  store.write({ fenceKey: "k", token: 7 }, put("one"));
  expect(store.write({ fenceKey: "k", token: 7 }, put("two")).kind).toBe("applied");
  expect(lines(store)).toEqual(["one", "two"]);
  store.close();
});

test("keys do not fence each other", () => {
  const store = open();
  store.write({ fenceKey: "a", token: 9 }, put("a"));
  expect(store.write({ fenceKey: "b", token: 1 }, put("b")).kind).toBe("applied");
  expect([...store.fences()]).toEqual([
    { fenceKey: "a", token: 9 },
    { fenceKey: "b", token: 1 },
  ]);
  expect(store.highestToken("c")).toBeUndefined();
  store.close();
});

test("an effect is applied once, also by a later lease, whose token counts from then on", () => {
  const store = open();
  expect(store.write({ fenceKey: "k", token: 1, effectId: "e" }, put("once")).kind).toBe("applied");
  expect(store.write({ fenceKey: "k", token: 5, effectId: "e" }, put("twice"))).toEqual({ kind: "duplicate" });
  expect(store.write({ fenceKey: "k", token: 4 }, put("stale")).kind).toBe("rejected");
  expect([lines(store), store.effectCount, store.hasEffect("e"), store.hasEffect("f")]).toEqual([
    ["once"],
    1,
    true,
    false,
  ]);
  expect([...store.effects()]).toEqual([{ effectId: "e", fenceKey: "k", token: 1 }]);
  store.close();
});

test("a throwing effect rolls back everything, the token too", () => {
  const store = open();
  store.write({ fenceKey: "k", token: 1 }, put("before"));
  const error = new Error("no");
  expect(() =>
    store.write({ fenceKey: "k", token: 5, effectId: "e" }, (db) => {
      put("half")(db);
      throw error;
    }),
  ).toThrow(error);
  expect([lines(store), store.highestToken("k"), store.effectCount]).toEqual([["before"], 1, 0]);
  expect(store.write({ fenceKey: "k", token: 2, effectId: "e" }, put("after")).kind).toBe("applied");
  store.close();
});

test("a write that nests or is wrong in itself is a defect and changes nothing", () => {
  const store = open();
  const write = { fenceKey: "k", token: 1 };
  expect(() => store.write(write, () => store.write(write, put("inner")))).toThrow(/transaction of its own/);
  expect(() => store.write({ fenceKey: "k", token: 0 }, put("x"))).toThrow(/positive/);
  expect(() => store.write({ fenceKey: "k", token: 1.5 }, put("x"))).toThrow(/positive/);
  expect(() => store.write({ fenceKey: "", token: 1 }, put("x"))).toThrow(/empty/);
  expect([lines(store), store.highestToken("k")]).toEqual([[], undefined]);
  store.close();
});

test("an async function is refused before any of it runs", async () => {
  const store = open();
  const write = { fenceKey: "k", token: 1, effectId: "e" };
  const effect = async (db: Database): Promise<void> => {
    put("before")(db);
    await Promise.resolve();
    put("outside")(db);
  };
  const refusal = expect.objectContaining({ code: "effect_not_synchronous", definite: true });
  // @ts-expect-error an effect returns no promise
  expect(() => store.write(write, effect)).toThrow(refusal);
  // @ts-expect-error an effect returns no promise
  expect(() => store.apply(write, effect)).toThrow(refusal);
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect([lines(store), store.highestToken("k"), store.effectCount]).toEqual([[], undefined, 0]);
  store.close();
});

const thenable = (then: unknown): unknown => ({ then });
test.each([
  ["a promise", () => Promise.resolve()],
  ["a thenable", () => thenable(() => {})],
  [
    "a callable thenable",
    () =>
      Object.assign(
        () => {},
        thenable(() => {}),
      ),
  ],
])("an effect that returns %s is rolled back and told", (_what, returned) => {
  const store = open();
  const effect = (db: Database): unknown => {
    put("half")(db);
    return returned();
  };
  expect(() => store.write({ fenceKey: "k", token: 1, effectId: "e" }, effect)).toThrow(
    expect.objectContaining({ code: "effect_not_synchronous", definite: false }),
  );
  expect([lines(store), store.highestToken("k"), store.effectCount]).toEqual([[], undefined, 0]);
  store.close();
});

test("an effect may return what only looks like a thenable, and use savepoints of its own", () => {
  const store = open();
  const result = store.write({ fenceKey: "k", token: 1 }, (db) => {
    db.transaction(put("kept"))(db);
    db.exec("SAVEPOINT mine");
    put("undone")(db);
    db.exec("ROLLBACK TO mine");
    return thenable("no function");
  });
  expect(result).toEqual({ kind: "applied", value: thenable("no function") });
  expect(lines(store)).toEqual(["kept"]);
  store.close();
});

test.each(["COMMIT", "COMMIT; BEGIN", "ROLLBACK", "ROLLBACK; BEGIN IMMEDIATE", "COMMIT; BEGIN; SAVEPOINT mine"])(
  "an effect that does %s is told, also when it throws, and the store goes on",
  (sql) => {
    const store = open();
    const told = expect.objectContaining({ code: "effect_ended_transaction", definite: false });
    const error = new Error("no");
    const end = (db: Database): void => {
      db.exec(sql);
      if (db.inTransaction) put("outside")(db);
    };
    expect(() => store.write({ fenceKey: "k", token: 1 }, end)).toThrow(told);
    expect(() =>
      store.write({ fenceKey: "k", token: 2 }, (db) => {
        end(db);
        throw error;
      }),
    ).toThrow(expect.objectContaining({ code: "effect_ended_transaction", cause: error }));
    expect(lines(store)).toEqual([]);
    expect(store.write({ fenceKey: "k", token: 3 }, put("after")).kind).toBe("applied");
    store.close();
  },
);

test("a rollback that SQLite makes by itself is told as what caused it", () => {
  const store = open();
  store.database.pragma(`max_page_count = ${store.database.pragma("page_count", { simple: true }) as number}`);
  const fill = (db: Database): void => put("x".repeat(1_000_000))(db) as never;
  expect(() => store.write({ fenceKey: "k", token: 1 }, fill)).toThrow(expect.objectContaining({ code: "store_full" }));
  expect([lines(store), store.highestToken("k")]).toEqual([[], undefined]);
  store.close();
});

test("a stale token can be thrown instead of returned", () => {
  const store = open();
  expect(store.apply({ fenceKey: "k", token: 2, effectId: "e" }, put("a"))).toBe("applied");
  expect(store.apply({ fenceKey: "k", token: 2, effectId: "e" }, put("a"))).toBe("duplicate");
  const stale = { code: "stale_token", definite: true, details: { fenceKey: "k", token: 1, highestToken: 2 } };
  expect(() => store.apply({ fenceKey: "k", token: 1 }, put("b"))).toThrow(expect.objectContaining(stale));
  store.close();
});

test("another connection sees a write when it is committed and not before", () => {
  const store = open();
  const reader = new FencedStore(openSqlite(join(folder, "a.db")));
  store.write({ fenceKey: "k", token: 3 }, (db) => {
    put("a")(db);
    expect([lines(reader), reader.highestToken("k")]).toEqual([[], undefined]);
  });
  expect([lines(reader), reader.highestToken("k")]).toEqual([["a"], 3]);
  reader.close();
  store.close();
});

test("tokens up to the largest are kept exactly over a restart", () => {
  const first = open();
  first.write({ fenceKey: "k", token: Number.MAX_SAFE_INTEGER }, () => {});
  first.close();
  const second = open();
  expect(second.highestToken("k")).toBe(Number.MAX_SAFE_INTEGER);
  expect(second.write({ fenceKey: "k", token: Number.MAX_SAFE_INTEGER - 1 }, () => {}).kind).toBe("rejected");
  second.close();
});

test("a migration that fails leaves the file without its tables", () => {
  const failing = (db: Database): void => {
    db.exec("CREATE TABLE mine (a)");
    throw new Error("no");
  };
  expect(() => FencedStore.open(join(folder, "a.db"), { migrate: failing })).toThrow("no");
  const store = open();
  expect(store.database.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'").pluck().get()).toBe(0);
  store.close();
});

test("whatever comes in whatever order, the fence does what a map and a set would do", () => {
  const store = open();
  let run = 0;
  const step = fc.record({
    fenceKey: fc.constantFrom("a", "b", "c"),
    token: fc.integer({ min: 1, max: 10 }),
    effect: fc.option(fc.constantFrom("x", "y", "z", "w"), { nil: undefined }),
    fails: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      run += 1;
      const highest = new Map<string, number>();
      const effects = new Set<string>();
      for (const { fenceKey: key, token, effect, fails } of steps) {
        const fenceKey = `${run}/${key}`;
        const effectId = effect === undefined ? undefined : `${run}/${effect}`;
        const isStale = token < (highest.get(fenceKey) ?? 0);
        const isKnown = effectId !== undefined && effects.has(effectId);
        const attempt = (): string =>
          store.write({ fenceKey, token, effectId }, () => {
            if (fails) throw new Error("told to fail");
          }).kind;
        if (!isStale && !isKnown && fails) {
          expect(attempt).toThrow("told to fail");
        } else {
          expect(attempt()).toBe(isStale ? "rejected" : isKnown ? "duplicate" : "applied");
          if (!isStale) highest.set(fenceKey, token);
          if (!isStale && effectId !== undefined) effects.add(effectId);
        }
        expect(store.highestToken(fenceKey)).toBe(highest.get(fenceKey));
      }
    }),
    { numRuns: 60 },
  );
  store.close();
});
