/**
 * A process that writes through a fence, for the tests of crashes and of several processes:
 * `node fence-process.ts <file> <name> <hold|race> [count]`. `hold` stops for ever in the middle of its second write.
 */
import { writeSync } from "node:fs";
import { FencedStore } from "../../services/persistence/mod.ts";

const [path = "", name = "", mode, count = "0"] = process.argv.slice(2);
const store = FencedStore.open(path, {
  busyTimeoutMs: 30_000,
  migrate: (db) => {
    db.exec("CREATE TABLE IF NOT EXISTS line (writer TEXT NOT NULL, token INTEGER NOT NULL, part INTEGER NOT NULL)");
    db.exec("CREATE TABLE IF NOT EXISTS ballast (bytes BLOB NOT NULL)");
  },
});

const say = (text: string): void => void writeSync(1, `${text}\n`);

function write(token: number, effectId: string, pause: () => void): string {
  const result = store.write({ fenceKey: "k", token, effectId }, (db) => {
    const insert = db.prepare("INSERT INTO line VALUES (?, ?, ?)");
    insert.run(name, token, 1);
    pause();
    insert.run(name, token, 2);
  });
  return result.kind;
}

if (mode === "hold") {
  write(1, "first", () => {});
  write(2, "second", () => {
    // Large enough to reach the write-ahead log before the commit.
    store.database.exec(
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000) INSERT INTO ballast SELECT randomblob(4000) FROM n",
    );
    say("in the middle");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
} else {
  const kinds: Record<string, number> = {};
  for (let index = 1; index <= Number(count); index += 1) {
    // The token that the other process has reached, sometimes one more, sometimes one less.
    const token = Math.max(1, (store.highestToken("k") ?? 1) + (index % 3) - 1);
    const kind = write(token, `effect-${index}`, () => {});
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  say(JSON.stringify(kinds));
}
store.close();
