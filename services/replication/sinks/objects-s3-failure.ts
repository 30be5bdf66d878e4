/**
 * What a failed request to S3 is told as. The client's errors never travel further: they carry the access key, the signature and what was signed.
 */
import { OperatingError } from "../../../contracts/errors.ts";

/** As much of the client's errors as is read: a name, which is the code of the service, and the status of the answer. */
interface ClientError {
  readonly name?: unknown;
  readonly code?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: unknown };
}

interface Failure {
  readonly name: string;
  readonly definite: boolean;
  readonly advice: string;
}
const DENIED = "check the keys, and the rights s3:PutObject, s3:GetObject and s3:ListBucket";
const failures = {
  denied: { name: "s3_denied", definite: true, advice: DENIED },
  noCredentials: {
    name: "s3_denied",
    definite: true,
    advice: "there are no credentials; name them in the options, or give them as the AWS SDK looks for them",
  },
  noBucket: {
    name: "s3_bucket_missing",
    definite: true,
    advice: "create the bucket, or correct its name, region or endpoint",
  },
  refused: { name: "s3_request_invalid", definite: true, advice: "check bucket, region, endpoint and forcePathStyle" },
  throttled: { name: "s3_throttled", definite: false, advice: "" },
  timeout: { name: "s3_timeout", definite: false, advice: "" },
  unavailable: { name: "s3_unavailable", definite: false, advice: "" },
} as const satisfies Record<string, Failure>;

const DENIED_NAMES =
  /^(AccessDenied|AllAccessDisabled|AccountProblem|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|TokenRefreshRequired|RequestTimeTooSkewed|Forbidden|Unauthorized|XAdminUserNotFound)$/;
const THROTTLED_NAMES =
  /^(SlowDown|Throttling|ThrottlingException|TooManyRequests|TooManyRequestsException|RequestLimitExceeded|ProvisionedThroughputExceededException|BandwidthLimitExceeded)$/;
/** Words of the service, of the client, of Node; all others could hold anything. */
const WORD = /^[A-Za-z0-9_.]{1,64}$/;

/** `what` was being done; `isLate`: our own time limit ended it. */
export function s3Failure(error: unknown, what: string, isLate: boolean): OperatingError {
  const { name, code, $metadata } = (typeof error === "object" && error !== null ? error : {}) as ClientError;
  const status = typeof $metadata?.httpStatusCode === "number" ? $metadata.httpStatusCode : 0;
  const words = [name, code].filter((word) => typeof word === "string" && WORD.test(word) && word !== "Error");
  const { name: told, definite, advice } = failureOf(String(name), String(code), status, isLate);
  const reason = isLate
    ? "no answer in time"
    : `${words.join(" ") || "no answer"}${status === 0 ? "" : ` (${status})`}`;
  const message = `${what}: ${reason}${advice === "" ? "" : `; ${advice}`}`;
  return new OperatingError(told, message, { definite, details: { status, reason } });
}

function failureOf(name: string, code: string, status: number, isLate: boolean): Failure {
  if (isLate || name === "RequestTimeout" || code === "ETIMEDOUT") return failures.timeout;
  if (name === "CredentialsProviderError") return failures.noCredentials;
  if (name === "NoSuchBucket") return failures.noBucket;
  if (THROTTLED_NAMES.test(name) || status === 429) return failures.throttled;
  if (DENIED_NAMES.test(name) || status === 401 || status === 403) return failures.denied;
  // A conflict with another request under way, and what has no answer: a connection that is refused, cut, or for a name that is not known now.
  if (status === 0 || status >= 500 || status === 408 || status === 409) return failures.unavailable;
  return failures.refused;
}
