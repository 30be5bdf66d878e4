/** Asks a nats-server over a bare socket whether it is there and whether JetStream answers; a client library would retry and hide the reason. */
import { randomUUID } from "node:crypto";
import { connect, type Socket } from "node:net";

/** The part of the server's greeting that we read. */
export interface ServerGreeting {
  readonly server_id: string;
  readonly server_name: string;
  readonly version: string;
  readonly port: number;
  readonly jetstream?: boolean;
  /** Connections need credentials, which this probe has none of. */
  readonly auth_required?: boolean;
  readonly tls_required?: boolean;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What the JetStream API said: it works, or why not. */
export type JetStreamAnswer = { readonly kind: "ready" } | { readonly kind: "not_ready"; readonly reason: string };

/** Longest line or reply that the probe keeps. Bytes. */
const REPLY_BYTES_MAX = 1024 * 1024;

/** The greeting of whatever speaks the NATS protocol at the address. Throws an Error when nothing does within the time. */
export function readGreeting(address: Address, timeoutMs: number): Promise<ServerGreeting> {
  return converse(address, timeoutMs, (received) => greetingIn(received));
}

/**
 * Asks for the account's JetStream information, which in a cluster needs an elected meta leader.
 *
 * A server that demands credentials or TLS cannot be asked; its greeting then has to do: JetStream is enabled or not.
 * Throws: an Error when the server does not answer within the time.
 */
export function askJetStream(address: Address, timeoutMs: number): Promise<JetStreamAnswer> {
  const inbox = `_INBOX.${randomUUID()}`;
  let asked = false;
  return converse(address, timeoutMs, (received, socket) => {
    const greeting = greetingIn(received);
    if (greeting === undefined) return undefined;
    if (greeting.jetstream !== true) return notReady("JetStream is not enabled");
    if (greeting.auth_required === true || greeting.tls_required === true) return { kind: "ready" };
    if (!asked) {
      asked = true;
      const hello = JSON.stringify({ verbose: false, pedantic: false, headers: true, no_responders: true });
      socket.write(`CONNECT ${hello}\r\nSUB ${inbox} 1\r\nPUB $JS.API.INFO ${inbox} 0\r\n\r\n`);
    }
    return jetStreamAnswerIn(received);
  });
}

/** Sends and receives until `understand` returns something; it sees everything received so far, decoded as Latin-1 (one byte, one unit). */
function converse<Result>(
  address: Address,
  timeoutMs: number,
  understand: (received: string, socket: Socket) => Result | undefined,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const socket = connect(address.port, address.host);
    const timer = setTimeout(() => finish(() => reject(new Error(`no answer within ${timeoutMs} ms`))), timeoutMs);
    let received = "";
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    socket.setEncoding("latin1");
    socket.on("data", (chunk) => {
      received += String(chunk);
      if (received.length > REPLY_BYTES_MAX) return finish(() => reject(new Error("the answer is too long")));
      try {
        const result = understand(received, socket);
        if (result !== undefined) finish(() => resolve(result));
      } catch (error) {
        finish(() => reject(error));
      }
    });
    socket.on("error", (error) => finish(() => reject(error)));
    socket.on("close", () => finish(() => reject(new Error("the connection was closed before the answer"))));
  });
}

function greetingIn(received: string): ServerGreeting | undefined {
  const end = received.indexOf("\r\n");
  if (end < 0) return undefined;
  const line = received.slice(0, end);
  if (!line.startsWith("INFO ")) throw new Error(`not a NATS server: it says ${JSON.stringify(line.slice(0, 80))}`);
  return JSON.parse(line.slice("INFO ".length)) as ServerGreeting;
}

function jetStreamAnswerIn(received: string): JetStreamAnswer | undefined {
  const refused = /^-ERR (.*)\r$/m.exec(received);
  if (refused !== null) return notReady(refused[1] ?? "");
  if (/^HMSG \S+ 1 .*\r\nNATS\/1\.0 503/m.test(received)) return notReady("nobody serves the JetStream API");
  const message = /^MSG \S+ 1 (\d+)\r\n/m.exec(received);
  if (message === null) return undefined;
  const start = message.index + message[0].length;
  const length = Number(message[1]);
  if (received.length < start + length) return undefined;
  const body: unknown = JSON.parse(received.slice(start, start + length));
  const error = typeof body === "object" && body !== null && "error" in body ? body.error : undefined;
  return error === undefined ? { kind: "ready" } : notReady(JSON.stringify(error));
}

function notReady(reason: string): JetStreamAnswer {
  return { kind: "not_ready", reason };
}
