/** What the tests of sinks that talk to the outside share: what a process gives a sink, an HTTP receiver that keeps what it gets, certificates. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import type { z } from "zod";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Clock } from "../../contracts/ports.ts";
import type { Sink, SinkDeps, SinkKind, SinkScope } from "../../services/replication/sink.ts";
import { createClock } from "../../services/runtime/clock.ts";
import type { DeliveredEvent } from "../../services/testing/mod.ts";
import type { Cleanup } from "../support/process.ts";

export interface TestDeps extends SinkDeps {
  /** What was reported, as `event: fields`. */
  readonly reports: readonly string[];
}

/** Without a connection: none of these sinks uses it. */
export function sinkDeps(clock: Clock = createClock(), dataDir: string = tmpdir()): TestDeps {
  const reports: string[] = [];
  const report = (event: string, fields: object = {}): void => void reports.push(`${event}: ${JSON.stringify(fields)}`);
  const reporter = { info: report, warn: report, error: report };
  return { reporter, clock, dataDir, connection: undefined as never, reports };
}

/** A sink as a configuration makes it: options as written, parsed by the kind's own schema. */
export function makeSink<Options>(kind: SinkKind<Options>, options: unknown, deps: SinkDeps = sinkDeps()): Sink {
  return kind.create(kind.options.parse(options), deps);
}

/** `path: message` of each problem of the options; empty when there is none. */
export function optionProblemsOf(kind: { readonly options: z.ZodType }, options: unknown): readonly string[] {
  const parsed = kind.options.safeParse(options);
  return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

/** What the suite of all sinks wants to know of an event that has arrived. */
export function deliveredEvent({ sequenceNumber, resourceLeaseItemPayload: item }: ReplicationEvent): DeliveredEvent {
  return { sequenceNumber, ...(item?.body === undefined ? {} : { body: item.body }) };
}

/** The typed error of what must fail. */
export async function refusalOf(attempt: Promise<unknown>): Promise<OperatingError> {
  const error = await attempt.then(
    () => expect.unreachable("it succeeded"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(OperatingError);
  return error as OperatingError;
}

export const outcomeOf = ({ code, definite }: OperatingError): unknown[] => [code, definite];

export function folder(cleanup: Cleanup): string {
  const path = mkdtempSync(join(tmpdir(), "omnirelay-outside-"));
  cleanup(async () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** What a webhook posts. */
interface HookBody {
  readonly schema: number;
  readonly scope: SinkScope;
  readonly after: number;
  readonly upTo: number;
  readonly events: readonly ReplicationEvent[];
}
export interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly json: HookBody;
}
/** What is answered to one request: a status, and what stands with it. */
interface HookAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly text?: string;
}

export interface Hook {
  url: string;
  /** Requests that were answered with 2xx. */
  readonly taken: readonly Received[];
  readonly all: readonly Received[];
  /** What is answered from now on; 204 at first. */
  answer: (request: Received) => HookAnswer;
  /** Stops listening and ends all connections; `start` goes on at the same port. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** A receiver on loopback. With `tls` it speaks HTTPS. */
export async function startHook(cleanup: Cleanup, tls?: Certificates): Promise<Hook> {
  const taken: Received[] = [];
  const all: Received[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const received: Received = { headers: request.headers, body, json: JSON.parse(body.toString("utf8")) };
    const { status, headers = {}, text = "" } = hook.answer(received);
    all.push(received);
    if (status >= 200 && status < 300) taken.push(received);
    response.writeHead(status, headers).end(text);
  };
  // A request whose connection ends before its body has come is answered by nobody.
  const listener: RequestListener = (request, response) => void answer(request, response).catch(() => undefined);
  let port = 0;
  let server: Server | undefined;
  const hook: Hook = {
    url: "",
    taken,
    all,
    answer: (): HookAnswer => ({ status: 204 }),
    stop: async () => {
      server?.closeAllConnections();
      const closed = server === undefined ? undefined : once(server, "close");
      server?.close();
      server = undefined;
      await closed;
    },
    start: async () => {
      server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      port = (server.address() as AddressInfo).port;
      hook.url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}/hook`;
    },
  };
  await hook.start();
  cleanup(hook.stop);
  return hook;
}

export interface Certificates {
  readonly key: Buffer;
  readonly cert: Buffer;
  /** File of the certificate, which is its own authority. */
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate for loopback; undefined where there is no `openssl`. */
export function makeCertificates(cleanup: Cleanup): Certificates | undefined {
  const path = folder(cleanup);
  const [keyFile, certFile] = [join(path, "key.pem"), join(path, "cert.pem")];
  const words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost";
  try {
    execFileSync(
      "openssl",
      [
        ...words.split(" "),
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
        "-keyout",
        keyFile,
        "-out",
        certFile,
      ],
      { stdio: "ignore" },
    );
  } catch {
    return undefined;
  }
  return { key: readFileSync(keyFile), cert: readFileSync(certFile), keyFile, certFile };
}
