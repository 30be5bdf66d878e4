/** Reads an outward event of any version that this release knows: old ones are lifted step by step, newer ones are refused. */
import { z } from "zod";
import { ENVELOPE_VERSION, ReplicationEvent } from "./envelope.ts";
import { OperatingError } from "./errors.ts";
import { RELEASE_VERSION } from "./version.ts";

/** One version of the envelope. */
export interface EnvelopeVersion {
  /** What an event of this version looks like. */
  readonly schema: z.ZodType;
  /** Makes an event of this version one of the next; absent for the newest. */
  readonly lift?: (event: unknown) => unknown;
}

/** By version, from 1 on. A version is never taken out: events of it stand in changefeeds and files for as long as anybody keeps them. */
const ENVELOPES: Readonly<Record<number, EnvelopeVersion>> = { [ENVELOPE_VERSION]: { schema: ReplicationEvent } };

/** Reads events by the versions given; see `upcastEvent`. */
export function upcasterOf<Event>(versions: Readonly<Record<number, EnvelopeVersion>>): (value: unknown) => Event {
  const newest = Math.max(...Object.keys(versions).map(Number));
  return (value) => {
    const version = versionOf(value);
    let envelope = versions[version];
    if (envelope === undefined) throw unknownVersion(version, newest, value);
    let event = checked(envelope, value);
    for (let next = version + 1; next <= newest; next += 1) {
      const lifted: unknown = envelope.lift?.(event);
      envelope = versions[next];
      if (envelope === undefined) throw unknownVersion(next, newest, value);
      event = checked(envelope, lifted);
    }
    return event as Event;
  };
}

/**
 * A value that was parsed from JSON, as an outward event of the newest version.
 * Throws: OperatingError, definite: `version_unknown` for a version that this release does not read (`details`: `schemaVersion`, `newest`),
 * `event_unreadable` for what is no event.
 */
export const upcastEvent: (value: unknown) => ReplicationEvent = upcasterOf<ReplicationEvent>(ENVELOPES);

const Versioned = z.looseObject({ schemaVersion: z.int().min(1) });

function versionOf(value: unknown): number {
  const parsed = Versioned.safeParse(value);
  if (parsed.success) return parsed.data.schemaVersion;
  throw unreadable(value, z.prettifyError(parsed.error));
}

function checked({ schema }: EnvelopeVersion, value: unknown): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw unreadable(value, z.prettifyError(parsed.error));
}

/** Which event it is, as far as it says. */
function nameOf(value: unknown): string {
  const { sequenceNumber } = (value ?? {}) as { readonly sequenceNumber?: unknown };
  return typeof sequenceNumber === "number" ? `event ${sequenceNumber}` : "an event";
}

function unreadable(value: unknown, reason: string): OperatingError {
  return new OperatingError("event_unreadable", `${nameOf(value)} is none: ${reason}`, { definite: true });
}

function unknownVersion(schemaVersion: number, newest: number, value: unknown): OperatingError {
  const message =
    `${nameOf(value)} has schemaVersion ${schemaVersion}, and omnirelay ${RELEASE_VERSION} reads up to ${newest}: ` +
    `upgrade omnirelay here to the release that the writer has, or to a newer one`;
  return new OperatingError("version_unknown", message, { definite: true, details: { schemaVersion, newest } });
}
