/** What is wrong with a ledger, and where: an error that `ledger verify` reports and that everything else stops at. */
import { OperatingError } from "../../../contracts/errors.ts";

/** Where a frame stands: a message of the stream, or a line of an export. */
export type PlaceUnit = "stream sequence" | "line";

export interface Place {
  readonly unit: PlaceUnit;
  readonly at: number;
}

export const placeText = ({ unit, at }: Place): string => `${unit} ${at}`;

/** Definite: the same ledger shows the same again. */
export function ledgerProblem(code: string, place: Place, message: string): OperatingError {
  return new OperatingError(code, `${placeText(place)}: ${message}`, { definite: true, details: { place } });
}

/** The place of a problem of the ledger; undefined for every other error, which says nothing of the ledger. */
export function problemPlace(error: unknown): Place | undefined {
  return error instanceof OperatingError ? (error.details["place"] as Place | undefined) : undefined;
}

/** An error of the ledger's commands that no place in it is to blame for. */
export function ledgerError(code: string, message: string, cause?: unknown): OperatingError {
  return new OperatingError(code, message, { definite: true, cause });
}
