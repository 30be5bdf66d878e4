/** Operating errors as gRPC statuses and back: the status is for other tools, the trailer for us. */
import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";

/** Trailer with `{code, message, definite, details}` as JSON. */
const TRAILER = "omnirelay-error-bin";
/** Trailers have little room. Characters. */
const MESSAGE_LENGTH_MAX = 1_000;

const Told = z.object({
  code: z.string().regex(/^[a-z0-9_]{1,64}$/),
  message: z.string(),
  definite: z.boolean(),
  details: z.record(z.string(), z.unknown()).default({}),
});
const STATUSES: Readonly<Record<string, status>> = {
  unauthenticated: status.UNAUTHENTICATED,
  event_refused: status.INVALID_ARGUMENT,
  batch_refused: status.INVALID_ARGUMENT,
};
/** What only a person can mend. */
const STATUSES_DEFINITE: ReadonlySet<status> = new Set([
  ...[status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.UNIMPLEMENTED, status.INVALID_ARGUMENT],
  ...[status.FAILED_PRECONDITION, status.OUT_OF_RANGE],
]);

export function statusOf(error: OperatingError): StatusObject {
  const { code, definite, details } = error;
  const message = error.message.slice(0, MESSAGE_LENGTH_MAX);
  const metadata = new Metadata();
  metadata.set(TRAILER, Buffer.from(JSON.stringify({ code, message, definite, details })));
  const fallback = definite ? status.FAILED_PRECONDITION : status.UNAVAILABLE;
  return { code: STATUSES[code] ?? fallback, details: message, metadata };
}

/** The error that the hub told, or else one of the status: `hub_unusable` (definite) or `hub_unavailable`. */
export function errorOf(error: ServiceError, address: string): OperatingError {
  const [trailer] = error.metadata?.get(TRAILER) ?? [];
  const told = Told.safeParse(trailer instanceof Buffer ? jsonOf(trailer) : undefined);
  const where = `the hub ${address}`;
  if (told.success) {
    const { code, message, definite, details } = told.data;
    return new OperatingError(code, `${where}: ${message}`, { definite, details, cause: error });
  }
  const definite = STATUSES_DEFINITE.has(error.code);
  const code = definite ? "hub_unusable" : "hub_unavailable";
  const message = `${where}: ${status[error.code] ?? error.code}: ${error.details}`;
  return new OperatingError(code, message, { definite, cause: error, details: { address } });
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}
