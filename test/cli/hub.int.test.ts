/** `omnirelay hub` as a process: what a sink brings is in its file, and a signal ends it in order. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test, vi } from "vitest";
import { grpcKind } from "../../services/replication/sinks/grpc-kind.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { folder, makeSink } from "../replication/outside-bed.ts";
import { startProcess } from "../support/process.ts";
import { cli } from "./fake-terminal.ts";

const TOKEN = "a token of the test, long enough";

test("stores what a sink brings before it acknowledges, refuses strangers, and stops in order", async ({
  onTestFinished,
}) => {
  vi.stubEnv("HUB_TOKEN", TOKEN);
  onTestFinished(() => void vi.unstubAllEnvs());
  const path = join(folder(onTestFinished), "hub.db");
  const args = ["hub", "--listen", "127.0.0.1:0", "--path", path, "--token-env", "HUB_TOKEN", "--json"];
  const hub = startProcess("services/cli/main.ts", args, onTestFinished);
  const { listening: address } = JSON.parse(await hub.line("listening"));
  const feed = new EventFeed({ seed: 4, count: 20 });
  const scope = feed.scope("to-hub");
  const stranger = makeSink(grpcKind, { address, plaintext: true });
  onTestFinished(() => stranger.close());
  await expect(stranger.open(scope, undefined)).rejects.toMatchObject({
    message: expect.stringMatching(/bearer token/),
  });
  const sink = makeSink(grpcKind, { address, plaintext: true, bearer: { env: "HUB_TOKEN" } });
  onTestFinished(() => sink.close());
  await sink.open(scope, undefined);
  await sink.apply(feed.batch(scope, 0, 10), new AbortController().signal);
  const db = new Database(path, { readonly: true });
  onTestFinished(() => void db.close());
  expect(db.prepare("SELECT count(*) FROM hub_event").pluck().get()).toBe(10);
  await hub.signal("SIGTERM");
  expect(await hub.ended).toBe(0);
});

test("refuses options that do not go together, all at once", async () => {
  const { code, notes } = await cli(
    ...["hub", "--listen", "0.0.0.0:7902", "--path", "x", "--tls-cert", "hub.pem"],
    ...["--token-env", "1"],
  );
  expect(code).toBe(2);
  for (const words of ["tls.keyFile", "tokens[0].env"]) expect(notes).toContain(words);
});
