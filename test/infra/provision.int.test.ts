/** Fetches a real nats-server from this machine's own mirror; needs the network, so it runs only where it is asked for. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { provisionNatsServer } from "../../infra/nats-server/provision.ts";

test("a real package is fetched, tried and cached without touching the machine", {
  timeout: 300_000,
}, async (context) => {
  if (process.env["OMNIRELAY_TEST_NETWORK"] !== "1") context.skip("set OMNIRELAY_TEST_NETWORK=1 to download packages");
  const cache = mkdtempSync(join(tmpdir(), "omnirelay-test-cache-"));
  onTestFinished(() => rmSync(cache, { recursive: true, force: true }));
  const lines: string[] = [];
  const options = {
    env: { ...process.env, XDG_CACHE_HOME: cache },
    report: (line: string) => void lines.push(line),
    sources: ["cache", "distribution"] as const,
  };
  const found = await provisionNatsServer(options);
  expect(found).toMatchObject({ source: "distribution", version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  expect(lines[0]).toMatch(/^asking the configured mirror for nats-server in /);
  expect(await provisionNatsServer(options)).toEqual({ ...found, source: "cache" });
});
