/** The HTTP server's frame: bounds against slow and large requests, JSON errors, and a clear word when the port is taken. */
import type { Socket } from "node:net";
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from "fastify";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";

/** Longest request, and longest silence within one. ms. */
const REQUEST_MS = 10_000;
/** How often Node looks for requests that take too long; its own half a minute would make the bound above four times as long. ms. */
const TIMEOUT_CHECK_MS = 1_000;
const CONNECTION_IDLE_MS = 30_000;
const KEEP_ALIVE_MS = 5_000;
const BODY_BYTES_MAX = 64 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;
const CONNECTIONS_MAX = 500;

/** A refusal of the HTTP surface. */
export class HttpRefusal extends Error {
  readonly statusCode: number;
  readonly code: string;

  constructor(statusCode: number, code: string, message: string) {
    super(message);
    this.name = "HttpRefusal";
    this.statusCode = statusCode;
    this.code = code;
  }
}

export function createHttpServer(reporter: Reporter): FastifyInstance {
  const server = Fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_MS,
    connectionTimeout: CONNECTION_IDLE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: true,
    // An address that cannot be decoded never reaches a route, so it needs its own way to our form of error.
    frameworkErrors: (error, _request, reply) =>
      void refuse(reply, error.statusCode ?? 400, "invalid_argument", error.message),
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 200 },
    // What is no HTTP, comes too slowly or has too large a head never becomes a request.
    clientErrorHandler: (error, socket) => refuseSocket(error.code, socket),
    http: {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: REQUEST_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    },
  });
  server.server.maxConnections = CONNECTIONS_MAX;
  server.addHook("onSend", async (_request, reply) => {
    reply.header("cache-control", "no-store").header("x-content-type-options", "nosniff");
  });
  server.setNotFoundHandler((request, reply) =>
    refuse(reply, 404, "not_found", `there is no ${request.method} ${request.url.split("?")[0]?.slice(0, 200)}`),
  );
  server.setErrorHandler((error: FastifyError, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status < 500)
      return refuse(reply, status, error instanceof HttpRefusal ? error.code : "invalid_argument", error.message);
    if (error instanceof HttpRefusal || error instanceof OperatingError)
      return refuse(reply, 503, error.code, error.message);
    // A defect: its words stay here.
    reporter.error("http_defect", { method: request.method, url: request.url, error });
    return refuse(reply, 500, "internal", "a defect of the server; its log has the trace");
  });
  return server;
}

function refuse(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send(errorOf(code, message));
}

/** One shape for every refusal; messages have one line. */
function errorOf(code: string, message: string): object {
  return { error: { code, message: message.replace(/\s*[\r\n]+\s*/g, " ") } };
}

/** Code of Node's HTTP parser -> what is answered. */
const CLIENT_ERRORS: ReadonlyMap<string, readonly [status: string, code: string, message: string]> = new Map([
  [
    "ERR_HTTP_REQUEST_TIMEOUT",
    ["408 Request Timeout", "request_timeout", `the request did not come within ${REQUEST_MS} ms`],
  ],
  [
    "HPE_HEADER_OVERFLOW",
    ["431 Request Header Fields Too Large", "headers_too_large", `the headers exceed ${HEADER_BYTES_MAX} bytes`],
  ],
]);
const BAD_REQUEST = ["400 Bad Request", "invalid_argument", "the request is no HTTP"] as const;

function refuseSocket(parserCode: string, socket: Socket): void {
  // The client has gone: nobody reads an answer.
  if (parserCode === "ECONNRESET" || socket.destroyed) return;
  const [status, code, message] = CLIENT_ERRORS.get(parserCode) ?? BAD_REQUEST;
  const body = JSON.stringify(errorOf(code, message));
  const head = [
    `HTTP/1.1 ${status}`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${Buffer.byteLength(body)}`,
    "cache-control: no-store",
    "x-content-type-options: nosniff",
    "connection: close",
  ];
  if (socket.writable) socket.write(`${head.join("\r\n")}\r\n\r\n${body}`);
  socket.destroySoon();
}

/**
 * Listens and returns the address as a URL.
 * Throws: OperatingError `http_port_taken`, `http_address_unusable` (definite), with what to do.
 */
export async function listen(server: FastifyInstance, host: string, port: number): Promise<string> {
  try {
    return await server.listen({ host, port });
  } catch (cause) {
    throw listenError(cause, `${host}:${port}`);
  }
}

function listenError(cause: unknown, where: string): OperatingError {
  if ((cause as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const message = `${where} is taken by another process: give another --http-port, or 0 for a free one`;
    return new OperatingError("http_port_taken", message, { definite: true, cause });
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  const message = `cannot listen on ${where} (${reason}): check --http-host and --http-port`;
  return new OperatingError("http_address_unusable", message, { definite: true, cause });
}
