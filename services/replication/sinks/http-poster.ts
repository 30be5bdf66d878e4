/**
 * Posts to one endpoint, one request at a time: the only way by which sinks speak HTTP, so that timeouts, bounds, addresses and redirects
 * are judged in one place.
 */
import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { isIP, type Socket } from "node:net";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Clock } from "../../../contracts/ports.ts";
import { packageVersion } from "../../runtime/package-version.ts";
import { redactText } from "../../runtime/redact.ts";
import { addressNotAllowed, guardedLookup, hostOf, isPublicAddress, type Resolve } from "./http-address.ts";
import type { Endpoint } from "./http-endpoint.ts";
import { readOptionFile } from "./option-file.ts";
import { readSecret } from "./secret-source.ts";

/** `done`: any 2xx. `refused`: a 4xx about what was sent, which will never be taken; `text` is the beginning of the answer, for people. */
export type PostOutcome =
  | { readonly kind: "done" }
  | { readonly kind: "refused"; readonly status: number; readonly text: string };

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly retryAfter: string | undefined;
}

/** A 4xx of these does not speak of what was sent, but of who sent it, where, or how. */
const STATUSES_OF_PLACE: ReadonlySet<number> = new Set([401, 403, 404, 405, 407, 410, 426]);
/** A 4xx of these passes by itself. */
const STATUSES_PASSING: ReadonlySet<number> = new Set([408, 421, 425, 429]);
/** Longest rest that an endpoint can ask for. ms. */
const RETRY_AFTER_MS_MAX = 3_600_000;
const HEADER_BYTES_MAX = 16 * 1024;
/** What of an answer stands in an error message. Characters. */
const TEXT_LENGTH_MAX = 200;

export class HttpPoster {
  readonly #endpoint: Endpoint;
  readonly #clock: Clock;
  readonly #url: URL;
  readonly #agent: HttpAgent | HttpsAgent;
  readonly #headers: Readonly<Record<string, string>>;

  /** Reads what the endpoint's options name. Throws: OperatingError `secret_unusable`, `option_file_unusable`, `address_not_allowed`; definite. */
  constructor(endpoint: Endpoint, clock: Clock, resolve?: Resolve) {
    this.#endpoint = endpoint;
    this.#clock = clock;
    this.#url = new URL(endpoint.url);
    const host = hostOf(this.#url);
    // An address in the URL is connected to without any lookup.
    if (isIP(host) !== 0 && !endpoint.allowPrivate && !isPublicAddress(host)) throw addressNotAllowed(host, host);
    const options = { keepAlive: true, maxSockets: 1, lookup: guardedLookup(endpoint.allowPrivate, resolve) };
    const ca = endpoint.caFile === undefined ? undefined : readOptionFile(endpoint.caFile);
    this.#agent =
      this.#url.protocol === "https:"
        ? new HttpsAgent({ ...options, rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) })
        : new HttpAgent(options);
    const { bearer } = endpoint;
    this.#headers = {
      "Content-Type": "application/json",
      "User-Agent": `omnirelay/${packageVersion()}`,
      ...(bearer === undefined ? {} : { Authorization: `Bearer ${readSecret(bearer)}` }),
    };
  }

  /**
   * Posts a body once; nothing is tried again here.
   * Throws: OperatingError `address_not_allowed`, `endpoint_redirected`, `endpoint_denied` (definite: a person has to mend it);
   * `endpoint_unreachable`, `endpoint_timeout`, `endpoint_busy` (408, 429, 5xx; with `details.retryAfterMs` where the endpoint says so), none of
   * them definite: the request may have had its effect. The reason of `signal`.
   */
  async post(body: Uint8Array, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<PostOutcome> {
    const { status, text, retryAfter } = await this.#exchange(body, headers, signal);
    if (status >= 200 && status < 300) return { kind: "done" };
    const said = `${hostOf(this.#url)} answered ${status}: ${JSON.stringify(redactText(text))}`;
    if (status >= 300 && status < 400)
      throw this.#error("endpoint_redirected", `${said}; redirects are not followed: give the last URL`, true);
    if (STATUSES_OF_PLACE.has(status)) throw this.#error("endpoint_denied", said, true, { status });
    if (status >= 400 && status < 500 && !STATUSES_PASSING.has(status)) return { kind: "refused", status, text };
    const retryAfterMs = retryAfter === undefined ? undefined : this.#retryAfterMs(retryAfter);
    throw this.#error("endpoint_busy", said, false, {
      status,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  }

  /** Ends the connection; closing twice is allowed. */
  close(): void {
    this.#agent.destroy();
  }

  #exchange(body: Uint8Array, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Answer> {
    const { timeoutMs, connectTimeoutMs, responseBytesMax } = this.#endpoint;
    const isTls = this.#url.protocol === "https:";
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const request = (isTls ? requestHttps : requestHttp)(this.#url, {
        method: "POST",
        agent: this.#agent,
        maxHeaderSize: HEADER_BYTES_MAX,
        headers: { ...this.#headers, ...headers, "Content-Length": String(body.byteLength) },
      });
      const settle = (outcome: Answer | Error): void => {
        this.#clock.clearTimer(connecting);
        this.#clock.clearTimer(whole);
        signal.removeEventListener("abort", onAbort);
        if (outcome instanceof Error) {
          request.destroy();
          reject(outcome);
        } else resolve(outcome);
      };
      const late = (what: string, ms: number): void =>
        settle(this.#error("endpoint_timeout", `${hostOf(this.#url)}: ${what} within ${ms} ms`, false));
      const connecting = this.#clock.setTimer(connectTimeoutMs, () => late("no connection", connectTimeoutMs));
      let cutOff = (): void => late("no answer", timeoutMs);
      const whole = this.#clock.setTimer(timeoutMs, () => cutOff());
      const onAbort = (): void => settle(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      onConnected(request, isTls, () => this.#clock.clearTimer(connecting));
      request.on("error", (error) => settle(this.#unreachable(error)));
      request.on("response", (response) => {
        // The status is the answer; from here on neither time nor the connection changes it.
        cutOff = readSome(response, responseBytesMax, (text) =>
          settle({ status: response.statusCode ?? 0, text, retryAfter: response.headers["retry-after"] }),
        );
      });
      request.end(body);
    });
  }

  #retryAfterMs(text: string): number | undefined {
    const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - this.#clock.wallMs();
    return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX) : undefined;
  }

  #unreachable(error: Error): OperatingError {
    if (error instanceof OperatingError) return error;
    const { code } = error as Error & { readonly code?: unknown };
    // A connection that was tried on several addresses fails with all their errors, and no text of its own.
    const reason = error.message === "" ? String(code ?? error.name) : error.message;
    return this.#error("endpoint_unreachable", `${hostOf(this.#url)}: ${reason}`, false, {}, error);
  }

  #error(code: string, message: string, definite: boolean, details = {}, cause?: unknown): OperatingError {
    return new OperatingError(code, message, { definite, cause, details: { host: hostOf(this.#url), ...details } });
  }
}

/** Calls back once the request has a connection that it can be written to. */
function onConnected(request: ClientRequest, isTls: boolean, callback: () => void): void {
  request.on("socket", (socket: Socket) => {
    if (request.reusedSocket) callback();
    else socket.once(isTls ? "secureConnect" : "connect", callback);
  });
}

/** Calls back once, with the first bytes of a body as text. More than that is cut off, with its connection; so is all by the function that it returns. */
function readSome(response: IncomingMessage, bytesMax: number, callback: (text: string) => void): () => void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    callback(Buffer.concat(chunks).subarray(0, bytesMax).toString("utf8").slice(0, TEXT_LENGTH_MAX));
  };
  const cutOff = (): void => {
    end();
    response.destroy();
  };
  response.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.byteLength;
    if (bytes > bytesMax) cutOff();
  });
  for (const event of ["end", "close", "error"]) response.on(event, end);
  return cutOff;
}
