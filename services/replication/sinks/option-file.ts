/** Reads the files that options name (secrets, certificates), so that a missing one is told in one way. */
import { readFileSync } from "node:fs";
import { OperatingError } from "../../../contracts/errors.ts";

/** Throws: OperatingError `option_file_unusable`; definite. */
export function readOptionFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unusable(path, error as Error);
  }
}

function unusable(path: string, cause: Error): OperatingError {
  return new OperatingError("option_file_unusable", `the file ${path} cannot be read: ${cause.message}`, {
    definite: true,
    cause,
    details: { path },
  });
}
