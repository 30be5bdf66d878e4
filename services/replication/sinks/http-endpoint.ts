/** The options of an HTTP endpoint that a sink posts to: shared by every sink that speaks HTTP. */
import { isIP } from "node:net";
import { z } from "zod";
import { hostOf, isPublicAddress, notPublic } from "./http-address.ts";
import { SecretSource } from "./secret-source.ts";

const KIB = 1024;

export const endpointFields = {
  url: z.string().max(2_048).describe("Where to post: an https URL; http only with `allowPrivate`."),
  allowHosts: z
    .array(z.string().min(1).max(253))
    .min(1)
    .max(100)
    .describe("Hosts that may be connected to, each written out as in the URL; that of `url` must be among them."),
  allowPrivate: z
    .boolean()
    .default(false)
    .describe(
      "Whether a host may have a loopback, private, link-local or metadata address, and may be spoken to without TLS.",
    ),
  caFile: z
    .string()
    .min(1)
    .optional()
    .describe("PEM file of the authorities to trust; absent: those that Node.js trusts."),
  bearer: SecretSource.optional().describe("Token for `Authorization: Bearer`."),
  connectTimeoutMs: z
    .int()
    .min(1)
    .max(60_000)
    .default(5_000)
    .describe("For name, connection and TLS together. At most `timeoutMs`. ms."),
  timeoutMs: z.int().min(1).max(600_000).default(30_000).describe("For a request as a whole. ms."),
  requestBytesMax: z
    .int()
    .min(KIB)
    .max(64 * KIB * KIB)
    .default(KIB * KIB)
    .describe("Largest body of a request. Bytes."),
  responseBytesMax: z
    .int()
    .min(0)
    .max(KIB * KIB)
    .default(16 * KIB)
    .describe("What is read of an answer's body, for the error message; the rest is cut off. Bytes."),
} as const;
const Endpoint = z.strictObject(endpointFields);
export type Endpoint = Readonly<z.infer<typeof Endpoint>>;

/** What the rules compare, as far as it is of the right type. */
const Compared = z.object({
  url: z.string().optional().catch(undefined),
  allowHosts: z.array(z.string()).optional().catch(undefined),
  allowPrivate: z.boolean().catch(false),
  connectTimeoutMs: z.number().catch(0),
  timeoutMs: z.number().catch(Number.POSITIVE_INFINITY),
});
type Compared = Readonly<z.infer<typeof Compared>>;

/** For `superRefine` of a schema with these fields, `when` it has an object: the rules between them, whatever else is wrong. */
export function checkEndpoint(endpoint: unknown, context: z.RefinementCtx): void {
  const compared = Compared.parse(endpoint);
  const { connectTimeoutMs, timeoutMs } = compared;
  const problem = (path: string, message: string): void => context.addIssue({ code: "custom", path: [path], message });
  if (connectTimeoutMs > timeoutMs)
    problem("connectTimeoutMs", `${connectTimeoutMs} is above timeoutMs, which is ${timeoutMs}`);
  for (const message of urlProblems(compared)) problem("url", message);
}

function urlProblems({ url: text, allowHosts, allowPrivate }: Compared): readonly string[] {
  if (text === undefined) return [];
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) return ["must be an https URL"];
  const host = hostOf(url);
  const isAllowed =
    allowHosts === undefined || allowHosts.some((allowed) => allowed.toLowerCase().replace(/^\[|\]$/g, "") === host);
  const problems: readonly (readonly [boolean, string])[] = [
    [url.protocol === "http:" && !allowPrivate, "must be https, or allowPrivate be set"],
    [url.username !== "" || url.password !== "", "must not hold a user or password; use `bearer`"],
    [url.hash !== "", "must not have a fragment"],
    [!isAllowed, `its host ${host} is not among allowHosts`],
    [isIP(host) !== 0 && !allowPrivate && !isPublicAddress(host), notPublic(host)],
  ];
  return problems.flatMap(([isProblem, message]) => (isProblem ? [message] : []));
}
