/** What the fence promises across processes: one that dies in a write leaves nothing of it, and two that race keep the order. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, test } from "vitest";
import { FencedStore } from "../../services/persistence/mod.ts";

const FILE = fileURLToPath(new URL("fence-process.ts", import.meta.url));
let path: string;
beforeEach(({ onTestFinished }) => {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-fence-"));
  path = join(folder, "a.db");
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

function start(cleanup: (dispose: () => void) => void, ...args: string[]) {
  const child = spawn(process.execPath, [FILE, path, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  cleanup(() => void child.kill("SIGKILL"));
  let text = "";
  child.stdout.on("data", (data) => {
    text += data;
  });
  return { child, closed: once(child, "close"), output: () => text };
}
const rows = (store: FencedStore): unknown[] =>
  store.database.prepare("SELECT writer, token, part FROM line ORDER BY rowid").all();

test("a process killed in the middle of a write leaves nothing of it, and its place is free at once", async ({
  onTestFinished,
}) => {
  const { child, closed, output } = start(onTestFinished, "victim", "hold");
  await once(child.stdout, "data");
  expect(output()).toBe("in the middle\n");
  const reader = FencedStore.open(path);
  expect([reader.highestToken("k"), reader.effectCount]).toEqual([1, 1]);
  child.kill("SIGKILL");
  expect(await closed).toEqual([null, "SIGKILL"]);
  const first = [1, 2].map((part) => ({ writer: "victim", token: 1, part }));
  expect([rows(reader), reader.highestToken("k"), reader.hasEffect("second")]).toEqual([first, 1, false]);
  reader.close();
  const store = FencedStore.open(path);
  expect(store.database.pragma("integrity_check", { simple: true })).toBe("ok");
  expect(rows(store)).toEqual(first);
  expect(store.write({ fenceKey: "k", token: 2, effectId: "second" }, () => {}).kind).toBe("applied");
  store.close();
});

test("processes that begin a new file together and race keep the order of tokens and apply each effect once", async ({
  onTestFinished,
}) => {
  const count = 300;
  const racers = ["a", "b", "c"].map((name) => start(onTestFinished, name, "race", String(count)));
  for (const { closed } of racers) expect(await closed).toEqual([0, null]);
  const kinds = racers.map(({ output }) => JSON.parse(output()) as Record<string, number>);
  const applied = kinds.reduce((sum, { applied: own = 0 }) => sum + own, 0);
  const store = FencedStore.open(path);
  const written = rows(store) as { readonly writer: string; readonly token: number; readonly part: number }[];
  expect(written).toHaveLength(applied * 2);
  expect(store.effectCount).toBe(applied);
  expect(applied).toBeLessThanOrEqual(count);
  for (const [index, { writer, token, part }] of written.entries()) {
    // Two parts of one write stand together, and no later write has a lower token.
    expect(part).toBe((index % 2) + 1);
    const before = written[index - 1];
    if (before === undefined) continue;
    expect(token).toBeGreaterThanOrEqual(before.token);
    if (part === 2) expect([writer, token]).toEqual([before.writer, before.token]);
  }
  store.close();
});
