/** What a process takes away however it ends, seen from outside: real processes, real signals, a real pipe that is closed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const MODULE = new URL("../../chaos/at-end.ts", import.meta.url).href;
/** Makes a folder with something in it, says so, and does what is to be tested. */
const script = (rest: string): string => `
  import { writeFileSync } from "node:fs";
  import { atEnd, endWhenUnread, temporaryFolder } from ${JSON.stringify(MODULE)};
  const folder = temporaryFolder("omnirelay-at-end-");
  writeFileSync(folder.path + "/file", "");
  setInterval(() => {}, 1_000);
  ${rest}
`;
const READY = `process.stdout.write("ready");`;
/** Takes away something that takes its time, and says that it has begun. */
const SLOWLY = `atEnd(() => {
  writeFileSync(1, "releasing");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
});`;

function run(rest: string): { readonly child: ChildProcess; readonly left: () => readonly string[] } {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script(rest)], {
    env: { ...process.env, TMPDIR: folder },
  });
  return { child, left: () => readdirSync(folder) };
}

const written = (child: ChildProcess, text: string): Promise<void> =>
  new Promise((resolve) => {
    let all = "";
    child.stdout?.on("data", (data: Buffer) => {
      all += String(data);
      if (all.includes(text)) resolve();
    });
  });

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "a folder goes with a process that is ended by %s",
  async (signal) => {
    const { child, left } = run(READY);
    await written(child, "ready");
    expect(left()).toHaveLength(1);
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([null, signal]);
    expect(left()).toEqual([]);
  },
);

test("a second signal does not end a process that takes away what it has made", async () => {
  const { child, left } = run(`${SLOWLY} ${READY}`);
  await written(child, "ready");
  child.kill("SIGINT");
  await written(child, "releasing");
  child.kill("SIGINT");
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([null, "SIGINT"]);
  expect(left()).toEqual([]);
});

test("one thing that cannot be taken away keeps back none of the others", async () => {
  const { child, left } = run(`atEnd(() => { throw new Error("still mounted"); }); ${READY}`);
  await written(child, "ready");
  const words = once(child.stderr as NonNullable<ChildProcess["stderr"]>, "data");
  child.kill("SIGINT");
  expect(String(await words)).toContain("left behind: still mounted");
  await once(child, "close");
  expect(left()).toEqual([]);
});

test.each([
  ["of a failure", `throw new Error("failed")`],
  ["in order", "process.exit(1)"],
  ["because nobody reads it any more", `endWhenUnread(); setInterval(() => process.stderr.write("word"), 5);`],
])("a folder goes with a process that ends %s", async (_how, rest) => {
  const { child, left } = run(rest);
  child.stderr?.once("data", () => child.stderr?.destroy());
  expect(await once(child, "exit")).toEqual([1, null]);
  expect(left()).toEqual([]);
});

test("what is kept stays, and what was removed before is not missed", async () => {
  const { child, left } = run(`temporaryFolder("omnirelay-kept-").keep(); folder.remove(); process.exit(0);`);
  expect(await once(child, "exit")).toEqual([0, null]);
  expect(left()).toEqual([expect.stringMatching(/^omnirelay-kept-/)]);
});
