/** Where a secret is read from: a variable or a file, never the configuration itself, which is logged and copied. */
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import { readOptionFile } from "./option-file.ts";

export const SecretSource = z
  .strictObject({
    env: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
      .optional()
      .describe("Name of the environment variable that holds it; read when the sink opens."),
    file: z.string().min(1).optional().describe("File that holds it and nothing else; read when the sink opens."),
  })
  .refine(({ env, file }) => (env === undefined) !== (file === undefined), {
    error: "one of env and file is needed, and only one",
  });
export type SecretSource = Readonly<z.infer<typeof SecretSource>>;

/** Longest secret. Characters. */
const SECRET_LENGTH_MAX = 4_096;

/**
 * The secret, without the line end of its file.
 * Throws: OperatingError `secret_unusable` (missing, empty, shorter than `lengthMin` characters, control characters), `option_file_unusable`; definite.
 */
export function readSecret({ env, file = "" }: SecretSource, lengthMin = 1): string {
  const name = env === undefined ? `the file ${file}` : `the variable ${env}`;
  const text = env === undefined ? readOptionFile(file).toString("utf8") : (process.env[env] ?? "");
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
