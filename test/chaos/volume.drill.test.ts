/** A volume of our own goes with the process that made it, also when that is interrupted again and again while it unmounts. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { missingRight } from "../../chaos/disk/rights.ts";

const moduleOf = (path: string): string => JSON.stringify(new URL(`../../chaos/${path}`, import.meta.url).href);
/** Makes a volume that is in use. */
const SCRIPT = `
  import { openSync } from "node:fs";
  import { Volume } from ${moduleOf("disk/volume.ts")};
  import { temporaryFolder } from ${moduleOf("at-end.ts")};
  const volume = await Volume.create(temporaryFolder("omnirelay-drill-").path, "n1", 16 * 1024 * 1024);
  openSync(volume.folder + "/in-use", "w");
  setInterval(() => {}, 1_000);
  process.stdout.write("ready");
`;

test("a process group that gets SIGINT three times leaves neither a mount nor a folder", async (context) => {
  const reason = await missingRight("volume");
  if (reason !== undefined) context.skip(reason);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-test-"));
  const mounts = (): number => readFileSync("/proc/mounts", "utf8").split(folder).length - 1;
  // A group of its own, so that the signals also reach the programs that it runs, as a Ctrl-C does.
  const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", SCRIPT], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  await once(child.stdout, "data");
  expect(mounts()).toBe(1);
  const ended = once(child, "exit");
  for (let count = 0; count < 3; count += 1) {
    process.kill(-(child.pid as number), "SIGINT");
    await new Promise(setImmediate);
  }
  expect(await ended).toEqual([null, "SIGINT"]);
  expect([mounts(), readdirSync(folder)]).toEqual([0, []]);
  rmSync(folder, { recursive: true });
});
