/** Where a secret is read from: a variable or a file, never the configuration itself, which is logged and copied. */
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import { readOptionFile } from "./option-file.ts";

export const SecretSource = z
  .union([
    z.strictObject({
      env: z
        .string()
        .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
        .describe("Name of the environment variable that holds the secret."),
    }),
    z.strictObject({ file: z.string().min(1).describe("File that holds the secret and nothing else.") }),
  ])
  .describe('`{"env": "NAME"}` or `{"file": "PATH"}`; read when the sink opens.');
export type SecretSource = Readonly<z.infer<typeof SecretSource>>;

/** Longest secret. Characters. */
const SECRET_LENGTH_MAX = 4_096;

/**
 * The secret, without the line end of its file.
 * Throws: OperatingError `secret_unusable` (missing, empty, shorter than `lengthMin` characters, control characters), `option_file_unusable`; definite.
 */
export function readSecret(source: SecretSource, lengthMin = 1): string {
  const name = "env" in source ? `the variable ${source.env}` : `the file ${source.file}`;
  const text = "env" in source ? (process.env[source.env] ?? "") : readOptionFile(source.file).toString("utf8");
  const secret = text.replace(/\r?\n$/, "");
  if (secret === "") throw unusable(`${name} holds no secret; set it`);
  if (secret.length < lengthMin) throw unusable(`the secret of ${name} is shorter than ${lengthMin} characters`);
  if (secret.length > SECRET_LENGTH_MAX) throw unusable(`${name} holds more than ${SECRET_LENGTH_MAX} characters`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be in it.
  if (/[\x00-\x1f\x7f]/.test(secret)) throw unusable(`the secret of ${name} has control characters`);
  return secret;
}

function unusable(message: string): OperatingError {
  return new OperatingError("secret_unusable", message, { definite: true });
}
