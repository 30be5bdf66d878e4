/** Benchmarks that are ended from outside leave no process and no folder behind. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";

const LONG_MS = 30_000;

/** Whether a process runs whose command names the folder. */
const isUsed = (folder: string): boolean =>
  readdirSync("/proc").some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder);
    } catch {
      return false; // it has ended
    }
  });

test.each(["deep.ts", "profile/main.ts"])("%s that gets SIGTERM ends what it has started", async (script) => {
  const scratch = mkdtempSync(join(tmpdir(), "omnirelay-test-"));
  const program = spawn(process.execPath, [join(import.meta.dirname, script)], {
    env: { ...process.env, TMPDIR: scratch },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  program.stderr.on("data", (chunk) => {
    said += chunk;
  });
  try {
    const begun = () => globSync(join(scratch, "*/{data,here}/*")).length > 0 || !existsSync(`/proc/${program.pid}`);
    await vi.waitUntil(begun, LONG_MS);
    expect(program.exitCode, said).toBeNull();
    program.kill("SIGTERM");
    const [code] = await once(program, "exit");
    expect(code).toBe(143);
    expect(said).toContain("SIGTERM: ending the servers");
    await vi.waitUntil(() => !isUsed(scratch), LONG_MS);
    expect(readdirSync(scratch)).toEqual([]);
  } finally {
    program.kill("SIGKILL");
    rmSync(scratch, { recursive: true, force: true });
  }
});
