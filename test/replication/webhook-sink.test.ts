/** The webhook: what it sends, whom it refuses to send to, and what it makes of each answer. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import type { Sink } from "../../services/replication/sink.ts";
import { isSignatureValid, signatureOf } from "../../services/replication/sinks/webhook-signature.ts";
import { webhookKind } from "../../services/replication/sinks/webhook-sink.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import {
  deliveredEvent,
  folder,
  type Hook,
  makeCertificates,
  makeSink,
  optionProblemsOf,
  type Received,
  refusalOf,
  sinkDeps,
  startHook,
} from "./outside-bed.ts";

const SECRET = "a secret of the test, long enough";
const OTHER_SECRET = "another secret, also long enough";
const feed = new EventFeed({ seed: 3, count: 30 });
const scope = feed.scope("hook");
const signal = (): AbortSignal => new AbortController().signal;
const NOW_MS = 1_800_000_000_123;

function optionsOf(hook: { readonly url: string }, more: object = {}) {
  vi.stubEnv("HOOK_SECRET", SECRET);
  vi.stubEnv("HOOK_SECRET_2", OTHER_SECRET);
  onTestFinished(() => void vi.unstubAllEnvs());
  return { url: hook.url, allowHosts: ["127.0.0.1"], allowPrivate: true, secrets: [{ env: "HOOK_SECRET" }], ...more };
}

async function opened(hook: { readonly url: string }, more: object = {}, deps = sinkDeps()): Promise<Sink> {
  const sink = makeSink(webhookKind, optionsOf(hook, more), deps);
  onTestFinished(() => sink.close());
  expect(await sink.open(scope, undefined)).toBeUndefined();
  return sink;
}

const world = async (more: object = {}): Promise<{ readonly hook: Hook; readonly sink: Sink }> => {
  const hook = await startHook(onTestFinished);
  return { hook, sink: await opened(hook, more) };
};
const apply = (sink: Sink, after: number, upTo: number): Promise<void> =>
  sink.apply(feed.batch(scope, after, upTo), signal());

describe("what is sent", () => {
  test("a batch is one request: its events as they are, with scope and sequences", async () => {
    const { hook, sink } = await world();
    await apply(sink, 4, 20);
    expect(hook.taken).toHaveLength(1);
    const { json, headers } = hook.taken[0] as Received;
    expect(json).toEqual({ schema: 1, scope, after: 4, upTo: 20, events: feed.events.slice(4, 20) });
    expect(headers["content-type"]).toBe("application/json");
    expect(headers["idempotency-key"]).toBe(`${feed.logId}/4-20`);
    await apply(sink, 4, 20);
    expect(hook.taken[1]?.headers["idempotency-key"]).toBe(headers["idempotency-key"]);
  });

  test("a batch whose events are all filtered out asks nobody", async () => {
    const { hook, sink } = await world();
    await sink.apply({ ...feed.batch(scope, 4, 20), events: [] }, signal());
    expect(hook.all).toEqual([]);
  });

  test("each of two secrets signs the time and the bytes of the body", async () => {
    const { hook, sink } = await world({ secrets: [{ env: "HOOK_SECRET" }, { env: "HOOK_SECRET_2" }] });
    await apply(sink, 0, 9);
    const [request] = hook.taken;
    const header = String(request?.headers["omnirelay-signature"]);
    expect(header).toMatch(/^t=\d{10},v1=[0-9a-f]{64},v1=[0-9a-f]{64}$/);
    const body = request?.body ?? Buffer.alloc(0);
    const at = { nowMs: Date.now() };
    for (const secret of [SECRET, OTHER_SECRET]) expect(isSignatureValid(header, body, [secret], at)).toBe(true);
    expect(isSignatureValid(header, body, ["a secret that nobody has"], at)).toBe(false);
    expect(isSignatureValid(header, Buffer.concat([body, Buffer.from(" ")]), [SECRET], at)).toBe(false);
  });

  test("a signature is what any implementation of HMAC-SHA256 makes of it, and ages", () => {
    const body = Buffer.from('{"a":1}');
    const header = signatureOf(body, ["0123456789abcdef"], NOW_MS);
    // printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
    expect(header).toBe("t=1800000000,v1=d3e17924cac4a72ca2ee9e5700df170fdb5733eaf69ecd909fb0c18a962b03a5");
    const isValid = (text: string, nowMs = NOW_MS): boolean =>
      isSignatureValid(text, body, ["0123456789abcdef"], { nowMs });
    expect([isValid(header), isValid(header, NOW_MS + 299_000)]).toEqual([true, true]);
    const moved = header.replace("t=1800000000", "t=1800000001");
    const refused = [isValid(header, NOW_MS + 301_000), isValid(header, NOW_MS - 301_000), isValid(moved)];
    expect(refused).toEqual([false, false, false]);
    for (const bad of ["", "t=1", "v1=00", header.replace("v1", "v0"), `t=x,${header}`])
      expect(isValid(bad)).toBe(false);
  });

  test("a batch above the bound goes in several requests, without a gap between them", async () => {
    const { hook, sink } = await world({ requestBytesMax: 4_096 });
    await apply(sink, 2, 30);
    expect(hook.taken.length).toBeGreaterThan(2);
    for (const { body } of hook.taken) expect(body.byteLength).toBeLessThanOrEqual(4_096);
    expect(hook.taken.flatMap(({ json }) => json.events)).toEqual(feed.events.slice(2, 30));
    const bounds = hook.taken.map(({ json }) => [json.after, json.upTo]);
    expect(bounds.map(([after]) => after)).toEqual([2, ...bounds.slice(0, -1).map(([, upTo]) => upTo)]);
    expect(bounds.at(-1)?.[1]).toBe(30);
  });

  test("an event above the bound is refused by its sequence, and what stands before it arrives", async () => {
    const { hook, sink } = await world({ requestBytesMax: 1_024 });
    const [first, second] = feed.events;
    const large = { ...second, details: { text: "x".repeat(1_024) } } as typeof second & object;
    const batch = { ...feed.batch(scope, 0, 2), events: [first, large] as (typeof large)[] };
    const error = await refusalOf(sink.apply({ ...batch, events: [{ ...large, sequenceNumber: 2 }] }, signal()));
    expect([error.code, error.definite, error.details["sequence"]]).toEqual(["event_refused", true, 2]);
    expect(hook.all).toEqual([]);
  });

  test("a bearer token from a file goes with each request and into no message", async () => {
    const file = join(folder(onTestFinished), "token");
    writeFileSync(file, "token-of-the-hook\n");
    const { hook, sink } = await world({ bearer: { file } });
    await apply(sink, 0, 3);
    expect(hook.taken[0]?.headers.authorization).toBe("Bearer token-of-the-hook");
    hook.answer = ({ headers }) => ({ status: 503, text: `you said ${headers.authorization}` });
    expect((await refusalOf(apply(sink, 3, 6))).message).not.toContain("token-of-the-hook");
  });
});

describe("answers", () => {
  test("a refusal of the sender or the place is definite and blames no event", async () => {
    const { hook, sink } = await world();
    for (const status of [401, 403, 404, 405, 410]) {
      hook.answer = () => ({ status, text: "no\u0000 entry" });
      const error = await refusalOf(apply(sink, 0, 8));
      expect([error.code, error.definite, error.details["status"]]).toEqual(["endpoint_denied", true, status]);
    }
  });

  test.each([400, 409, 413, 422])("a refusal with %i blames what was sent", async (status) => {
    const { hook, sink } = await world();
    hook.answer = () => ({ status, text: "<script>no</script>" });
    const error = await refusalOf(apply(sink, 4, 20));
    expect([error.code, error.definite]).toEqual(["webhook_refused", true]);
    expect(error.details).toMatchObject({ status, after: 4, upTo: 20 });
    const one = await refusalOf(apply(sink, 4, 5));
    expect([one.code, one.definite, one.details["sequence"]]).toEqual(["event_refused", true, 5]);
  });

  test("what may pass by itself is not definite, and the rest that is asked for is told", async () => {
    const hook = await startHook(onTestFinished);
    const clock = new FakeClock(NOW_MS);
    const sink = await opened(hook, {}, sinkDeps(clock));
    const later = (ms: number): string => new Date(NOW_MS + ms).toUTCString();
    const cases = [
      [429, "7", 7_000],
      [503, "0", 0],
      [503, later(60_000), 60_000 - 123],
      [503, later(-5_000), 0],
      [503, "999999999", 3_600_000],
      [503, "soon", undefined],
      [408, undefined, undefined],
      [500, undefined, undefined],
    ] as const;
    for (const [status, retryAfter, retryAfterMs] of cases) {
      hook.answer = () => ({ status, headers: retryAfter === undefined ? {} : { "Retry-After": retryAfter } });
      const error = await refusalOf(apply(sink, 0, 8));
      expect([error.code, error.definite, error.details["retryAfterMs"]]).toEqual([
        "endpoint_busy",
        false,
        retryAfterMs,
      ]);
    }
  });

  test("a redirect is refused, and nobody follows it", async () => {
    const target = await startHook(onTestFinished);
    const { hook, sink } = await world();
    for (const status of [301, 302, 307, 308]) {
      hook.answer = () => ({ status, headers: { Location: target.url } });
      const error = await refusalOf(apply(sink, 0, 8));
      expect([error.code, error.definite]).toEqual(["endpoint_redirected", true]);
    }
    expect(target.all).toEqual([]);
  });

  test("a success counts whatever comes behind it, and an endless answer is cut off", async () => {
    const { hook, sink } = await world({ responseBytesMax: 1_000 });
    hook.answer = () => ({ status: 200, text: "x".repeat(5_000_000) });
    await apply(sink, 0, 8);
    hook.answer = () => ({ status: 500, text: "y".repeat(5_000_000) });
    const error = await refusalOf(apply(sink, 8, 9));
    expect(error.message.length).toBeLessThan(400);
    hook.answer = () => ({ status: 200 });
    await apply(sink, 8, 9);
    expect(hook.taken.map(({ json }) => json.upTo)).toEqual([8, 9]);
  });

  test("an endpoint that is not there, or says nothing, ends in time", async () => {
    const { hook, sink } = await world();
    await hook.stop();
    const gone = await refusalOf(apply(sink, 0, 8));
    expect([gone.code, gone.definite]).toEqual(["endpoint_unreachable", false]);
    const silent = createTcpServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    onTestFinished(() => void silent.close());
    const { port } = silent.address() as AddressInfo;
    const mute = await opened({ url: `http://127.0.0.1:${port}/` }, { timeoutMs: 40, connectTimeoutMs: 40 });
    const late = await refusalOf(apply(mute, 0, 8));
    expect([late.code, late.message]).toEqual(["endpoint_timeout", "127.0.0.1: no answer within 40 ms"]);
    const shut = await opened({ url: `https://127.0.0.1:${port}/` }, { connectTimeoutMs: 30 });
    expect((await refusalOf(apply(shut, 0, 8))).message).toBe("127.0.0.1: no connection within 30 ms");
    const stop = new AbortController();
    const stopped = refusalOf(shut.apply(feed.batch(scope, 0, 8), stop.signal));
    stop.abort(new OperatingError("shutting_down", "the pump stops", { definite: true }));
    expect((await stopped).code).toBe("shutting_down");
  });
});

describe("TLS", () => {
  test("a certificate counts only by its authority", async (context) => {
    const certificates = makeCertificates(onTestFinished);
    if (certificates === undefined) return context.skip("no openssl here");
    const hook = await startHook(onTestFinished, certificates);
    const trusting = await opened(hook, { caFile: certificates.certFile });
    await apply(trusting, 0, 8);
    expect(hook.taken).toHaveLength(1);
    const strict = await opened(hook);
    const error = await refusalOf(apply(strict, 8, 9));
    expect(error.code).toBe("endpoint_unreachable");
    expect(error.message).toContain("self-signed certificate");
    expect(hook.all).toHaveLength(1);
  });
});

test("an endpoint at localhost is refused when it is connected to", async () => {
  const sink = await opened({ url: "https://localhost:1/" }, { allowHosts: ["localhost"], allowPrivate: false });
  expect((await refusalOf(apply(sink, 0, 3))).code).toBe("address_not_allowed");
});

describe("options", () => {
  const problems = (more: object): readonly string[] =>
    optionProblemsOf(webhookKind, {
      ...{ url: "https://hook.example/x", allowHosts: ["hook.example"], secrets: [{ env: "HOOK_SECRET" }] },
      ...more,
    });
  test("those of the documentation are fine", () => expect(problems({})).toEqual([]));

  test.each([
    [{ url: "https://other.example/" }, "url: its host other.example is not among allowHosts"],
    [{ url: "http://hook.example/" }, "url: must be https, or allowPrivate be set"],
    [{ url: "ftp://hook.example/" }, "url: must be an https URL"],
    [{ url: "hook" }, "url: must be an https URL"],
    [{ url: "https://me:pw@hook.example/" }, "url: must not hold a user or password; use `bearer`"],
    [{ url: "https://hook.example/#x" }, "url: must not have a fragment"],
    [{ connectTimeoutMs: 9, timeoutMs: 8 }, "connectTimeoutMs: 9 is above timeoutMs, which is 8"],
    [{ secrets: [] }, "secrets: Too small"],
    [{ secrets: ["plain text"] }, "secrets.0: Invalid input"],
    [{ secret: "plain text" }, 'Unrecognized key: "secret"'],
  ])("refuses %j", (more, message) => expect(problems(more).join("\n")).toContain(message));

  test.each(["127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254"])(
    "refuses a URL with the address %s, however it is written",
    (host) => {
      const { hostname } = new URL(`https://${host}/`);
      expect(problems({ url: `https://${host}/`, allowHosts: [hostname] }).join()).toContain("is no public address");
    },
  );

  test("tells all problems at once", () => {
    expect(problems({ url: "http://me@10.0.0.1/", connectTimeoutMs: 9, timeoutMs: 8, x: 1 })).toHaveLength(6);
  });

  test("a secret that is missing, short or has control characters keeps the sink from opening", async () => {
    const file = join(folder(onTestFinished), "secret");
    writeFileSync(file, "line one of it\nline two of it\n");
    vi.stubEnv("SHORT", "short");
    for (const source of [{ env: "NOT_THERE" }, { env: "SHORT" }, { file: "/not/there" }, { file }]) {
      const sink = makeSink(webhookKind, optionsOf({ url: "http://127.0.0.1:1/" }, { secrets: [source] }));
      const error = await refusalOf(sink.open(scope, undefined));
      expect([error.code, error.definite]).toEqual([
        "file" in source && source.file !== file ? "option_file_unusable" : "secret_unusable",
        true,
      ]);
      expect(error.message).not.toContain("line one");
    }
  });
});

sinkConformance({ describe, test }, "webhook", async () => {
  const disposals: (() => Promise<void>)[] = [];
  const hook = await startHook((dispose) => void disposals.push(dispose));
  vi.stubEnv("HOOK_SECRET", SECRET);
  const sinks: Sink[] = [];
  return {
    scope,
    guarantee: webhookKind.guarantee,
    takesAnyLog: true,
    make: () => {
      const sink = makeSink(webhookKind, {
        ...{ url: hook.url, allowHosts: ["127.0.0.1"], allowPrivate: true, secrets: [{ env: "HOOK_SECRET" }] },
      });
      sinks.push(sink);
      return sink;
    },
    delivered: async () => hook.taken.flatMap(({ json }) => json.events.map(deliveredEvent)),
    interrupt: () => hook.stop(),
    restore: () => hook.start(),
    close: async () => {
      for (const sink of sinks) await sink.close();
      for (const dispose of disposals) await dispose();
      vi.unstubAllEnvs();
    },
  };
});
