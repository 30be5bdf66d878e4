/** The reader of one replica against a scripted server: placement, pages, refusals and silence. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { openReaders, type ReplicaReader } from "../../services/jetstream/replica-reader.ts";
import { ScriptedConnection } from "./scripted-connection.ts";

const CREATE = "$JS.API.CONSUMER.CREATE.S.";
const DELETE = "$JS.API.CONSUMER.DELETE.S.";
const NEXT = "$JS.API.CONSUMER.MSG.NEXT.S.";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Lets what was answered reach the code that waits for it. */
const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

async function reader(patienceMs = 1_000) {
  const script = new ScriptedConnection();
  const connection = script.asNats;
  const opening = openReaders({
    ...{ connection, inbox: new Inbox(connection), stream: "S", servers: ["n1"] },
    ...{ from: 1, depth: "bytes" as const, patienceMs },
  });
  // The first consumer lands on a server that is not asked for.
  for (const leader of ["n2", "n1"]) {
    script.answer(CREATE, { cluster: { leader } });
    await settle();
  }
  const opened = (await opening).get("n1");
  if (opened === undefined) throw new Error("no reader");
  const answers = () => {
    const asked = script.published.findLast(({ subject }) => subject.startsWith(NEXT));
    const subscription = script.subscribed.findLast(({ subject }) => asked?.reply.startsWith(subject.slice(0, -1)));
    if (asked === undefined || subscription === undefined) throw new Error("nothing was asked");
    return { asked, subscription };
  };
  const deliver = (...sequences: readonly number[]): void => {
    for (const sequence of sequences)
      script.arrive(answers().subscription, {
        subject: "log",
        reply: `$JS.ACK.S.c.1.${sequence}.1.0.0`,
        text: `m${sequence}`,
      });
  };
  const status = (text: string): void =>
    script.arrive(answers().subscription, { subject: answers().asked.reply, headers: `NATS/1.0 ${text}\r\n\r\n` });
  const asked = (): readonly unknown[] => script.requests(NEXT).map(({ body }) => body["batch"]);
  return { script, opened, deliver, status, asked };
}

const read = async (from: ReplicaReader, to: number): Promise<readonly number[]> =>
  (await from.readTo(to)).map(({ sequence }) => sequence);

test("a consumer on another server is deleted, and reading goes on until the page is full", async () => {
  const { script, opened, deliver, asked } = await reader();
  expect(script.requests(DELETE)).toHaveLength(1);
  const page = read(opened, 3);
  deliver(1, 2, 3);
  expect(await page).toEqual([1, 2, 3]);
  expect(asked()).toEqual([3]);
  expect(opened).toMatchObject({ goesOn: false, failure: undefined });
});

test("what comes behind the page is kept for the next one", async () => {
  const { opened, deliver, asked } = await reader();
  const page = read(opened, 3);
  deliver(1, 3, 4);
  expect(await page).toEqual([1, 3]);
  expect(opened.goesOn).toBe(true);
  const next = read(opened, 5);
  deliver(5);
  expect(await next).toEqual([4, 5]);
  expect(asked()).toEqual([3, 1]);
});

test("a page that is too large for one request is asked for in parts", async () => {
  const { opened, deliver, status, asked } = await reader();
  const page = read(opened, 3);
  deliver(1);
  status("409 Message Size Exceeds MaxBytes");
  await settle();
  deliver(2, 3);
  expect(await page).toEqual([1, 2, 3]);
  expect(asked()).toEqual([3, 2]);
});

test("a copy that ends early has ended when nothing has come for its patience", async () => {
  const { opened, deliver, status } = await reader(1_000);
  const page = read(opened, 3);
  deliver(1);
  await settle(500);
  status("408 Request Timeout");
  await settle(500);
  deliver(2);
  status("408 Request Timeout");
  await settle(1_000);
  status("404 No Messages");
  expect(await page).toEqual([1, 2]);
  expect(opened.failure).toBeUndefined();
  expect(await read(opened, 9)).toEqual([]);
});

test("the server keeps a consumer for longer than another copy that ends early is waited for", async () => {
  const { script } = await reader(60_000);
  expect(script.requests(CREATE)[0]?.body).toMatchObject({ config: { inactive_threshold: 70_000 * 1_000_000 } });
});

test("a consumer that our server has not heard of yet is asked again", async () => {
  const { opened, deliver, status } = await reader();
  const page = read(opened, 1);
  status("503");
  await settle(100);
  deliver(1);
  expect(await page).toEqual([1]);
  const gone = read(opened, 2);
  for (let ms = 0; ms <= 2_100; ms += 20) {
    status("503");
    await settle(20);
  }
  expect(await gone).toEqual([]);
  expect(opened.failure).toBe("its server has gone");
});

interface Ending {
  readonly says: string;
  readonly ends: (server: Awaited<ReturnType<typeof reader>>) => Promise<unknown>;
  readonly is: string;
}

test.each<Ending>([
  { says: "a server that falls silent", ends: () => settle(3_000), is: "its server does not answer" },
  {
    says: "a consumer that is deleted",
    ends: async ({ status }) => status("409 Consumer Deleted"),
    is: "Consumer Deleted",
  },
  {
    says: "a lost connection",
    ends: ({ script }) => script.tell({ type: "disconnect", server: "s" }),
    is: "the connection was lost",
  },
  {
    says: "a reader that is closed",
    ends: async ({ opened }) => opened.close(),
    is: "the reading was ended",
  },
])("$says ends the reading with what had come", async ({ ends, is }) => {
  const server = await reader();
  const page = read(server.opened, 5);
  server.deliver(1, 2);
  await ends(server);
  expect(await page).toEqual([1, 2]);
  expect(server.opened.failure).toBe(is);
});

test("payloads count in full depth, and a refusal to make consumers is told", async () => {
  const { opened, script, deliver } = await reader();
  const page = opened.readTo(2);
  deliver(1, 2);
  const digests = (await page).map(({ digest }) => digest);
  expect(new Set(digests).size).toBe(2);

  const connection = script.asNats;
  const refused = openReaders({
    ...{ connection, inbox: new Inbox(connection), stream: "S", servers: ["n1"] },
    ...{ from: 1, depth: "bytes" as const, patienceMs: 1_000 },
  });
  script.answer(CREATE, { error: { code: 404, err_code: 10059, description: "stream not found" } });
  await expect(refused).rejects.toMatchObject({ code: "stream_missing" });
});
