/** Relays as processes, against a real mesh: killed at every statement, and two at once; each row is one item, in order. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LeaseClient } from "../../services/client/mod.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { postgresNote, postgresServer } from "../support/postgres.ts";
import { type Cleanup, type RunningProcess, startProcess } from "../support/process.ts";
import { nodeSqlite, type OutboxSubject, ofSqlite, postgresOutbox, sqliteFile } from "./outbox-subjects.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const ROWS_PER_LIFE = 8;
/** What a relay's statements are known by: turn, rows, mark, removal. A life of two batches has each twice. */
const STATEMENTS = ["SET owner", "SELECT sequence, request_id", "SET sent_after", "DELETE"];
const ROUNDS = [1, 2];

interface Place {
  readonly address: string;
  readonly outbox: OutboxSubject;
  /** Whether no relay that stands still keeps the others from writing. */
  readonly isWritable: () => boolean;
}
const DATABASES = [
  {
    name: "SQLite",
    note: undefined,
    open: async (cleanup: Cleanup): Promise<Place> => {
      const address = sqliteFile(cleanup);
      const db = nodeSqlite(address);
      cleanup(async () => db.close());
      const other = nodeSqlite(address);
      cleanup(async () => other.close());
      other.exec("PRAGMA busy_timeout = 0");
      const isWritable = (): boolean => {
        try {
          other.exec("BEGIN IMMEDIATE; ROLLBACK");
          return true;
        } catch (error) {
          expect(String(error)).toContain("database is locked");
          return false;
        }
      };
      return { address, outbox: ofSqlite(db), isWritable };
    },
  },
  {
    name: "PostgreSQL",
    note: postgresNote,
    open: async (cleanup: Cleanup): Promise<Place> => {
      const address = await postgresServer(cleanup);
      return { address, outbox: await postgresOutbox(address, cleanup), isWritable: () => true };
    },
  },
];

async function enqueued(client: LeaseClient): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { item } of client.listAll({ limit: 1_000 }, { consistent: true }))
    names.push(item?.resourceId ?? "");
  return names;
}

/** The state of a process, as Linux tells it: `T` for one that is stopped. */
const stateOf = (pid: number | undefined): string =>
  readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .slice(0, 1);

describe.each(DATABASES)("on $name", ({ note, open }) => {
  beforeEach(({ skip }) => {
    if (note !== undefined) skip(note);
  });

  async function world(cleanup: Cleanup) {
    const mesh = await testMesh(cleanup);
    await mesh.dispatcher("d1");
    const { address, outbox, isWritable } = await open(cleanup);
    let written = 0;
    return {
      client: await mesh.client("default"),
      relay: (name: string, ...death: string[]) =>
        startProcess("test/outbox/relay-process.ts", [address, mesh.server.url, name, ...death], cleanup),
      write: async (count: number): Promise<void> => {
        const items = Array.from({ length: count }, (_, index) => ({
          resourceType: "mail",
          resourceId: `r${written + index}`,
        }));
        written += count;
        await outbox.write(items);
      },
      /** Pauses a relay between its transactions: one that stood still inside of one would keep every writer of the SQLite file out. */
      pause: async ({ child }: RunningProcess): Promise<void> => {
        for (;;) {
          child.kill("SIGSTOP");
          await expect.poll(() => stateOf(child.pid)).toBe("T");
          if (isWritable()) return;
          child.kill("SIGCONT");
        }
      },
      waiting: async () => Number((await outbox.rows("SELECT count(*) AS rows FROM omnirelay_outbox"))[0]?.["rows"]),
      expected: () => Array.from({ length: written }, (_, index) => `r${index}`),
    };
  }

  test("relays killed before and after each of their statements enqueue every row once and in order", {
    timeout: 180_000,
  }, async ({ onTestFinished }) => {
    const { client, relay, write, waiting, expected } = await world(onTestFinished);
    for (const mode of ["before", "after"])
      for (const text of STATEMENTS)
        for (const round of ROUNDS) {
          await write(ROWS_PER_LIFE);
          const dying = relay(`relay-${round}`, mode, text, String(round));
          await dying.ended;
          const told = dying.lines.filter((line) => line !== "started");
          expect([dying.child.signalCode, told]).toEqual(["SIGKILL", []]);
        }
    const last = relay("last");
    await expect.poll(waiting, { timeout: 30_000 }).toBe(0);
    expect(await enqueued(client)).toEqual(expected());
    last.write("stop");
    expect(await last.ended).toBe(0);
  });

  test("two relays at once, of which one is paused and killed, enqueue every row once and in order", {
    timeout: 120_000,
  }, async ({ onTestFinished }) => {
    const { client, relay, write, pause, waiting, expected } = await world(onTestFinished);
    const [first, second] = [relay("first"), relay("second")];
    await Promise.all([first.line("started"), second.line("started")]);
    for (let round = 0; round < 10; round += 1) {
      await write(30);
      if (round === 3) await pause(first);
      if (round === 5) {
        await expect.poll(waiting, { timeout: 30_000 }).toBe(0);
        first.child.kill("SIGCONT");
        await pause(second);
      }
      if (round === 7) await second.signal("SIGKILL");
    }
    await expect.poll(waiting, { timeout: 30_000 }).toBe(0);
    expect(await enqueued(client)).toEqual(expected());
    expect(first.lines).toEqual(["started"]);
  });
});
