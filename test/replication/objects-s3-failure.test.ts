/** What answers of S3 are told as. What comes over the wire is in objects-s3.int.test.ts; here are those that no gateway gives on demand. */
import { expect, test } from "vitest";
import { s3Failure } from "../../services/replication/sinks/objects-s3-failure.ts";

const answer = (name: string, httpStatusCode?: number): object => ({ name, $metadata: { httpStatusCode } });

test.each([
  ["s3_denied", true, answer("AccessDenied", 403)],
  ["s3_denied", true, answer("SomethingNew", 403)],
  ["s3_denied", true, answer("ExpiredToken", 400)],
  ["s3_denied", true, answer("CredentialsProviderError")],
  ["s3_bucket_missing", true, answer("NoSuchBucket", 404)],
  ["s3_request_invalid", true, answer("PermanentRedirect", 301)],
  ["s3_request_invalid", true, answer("InvalidBucketName", 400)],
  ["s3_request_invalid", true, answer("NotImplemented", 404)],
  ["s3_throttled", false, answer("SlowDown", 503)],
  ["s3_throttled", false, answer("Whatever", 429)],
  ["s3_unavailable", false, answer("InternalError", 500)],
  ["s3_unavailable", false, answer("ServiceUnavailable", 503)],
  ["s3_unavailable", false, answer("ConditionalRequestConflict", 409)],
  ["s3_unavailable", false, Object.assign(new Error("connect ECONNRESET"), { code: "ECONNRESET" })],
  ["s3_unavailable", false, undefined],
  ["s3_timeout", false, answer("RequestTimeout", 400)],
  ["s3_timeout", false, { name: "TimeoutError", code: "ETIMEDOUT" }],
  // So the client calls a connection that was cut.
  ["s3_unavailable", false, { name: "TimeoutError", code: "ECONNRESET" }],
])("is told as %s (definite: %s)", (code, definite, error) => {
  const told = s3Failure(error, "writing", false);
  expect([told.code, told.definite, told.cause]).toEqual([code, definite, undefined]);
});

test("our own time limit is told as such, whatever the client says", () => {
  expect(s3Failure(answer("AbortError"), "writing x", true)).toMatchObject({ code: "s3_timeout", definite: false });
});

test("nothing of the client's error is told but its name and status", () => {
  const leaky = {
    ...answer("SignatureDoesNotMatch", 403),
    ...{ message: "secret-1", AWSAccessKeyId: "secret-2", StringToSign: "secret-3", code: "secret 4 with spaces" },
  };
  const error = s3Failure(leaky, "writing x to y", false);
  expect(JSON.stringify([error.message, error.details, error.stack])).not.toContain("secret");
  expect(error.message).toMatch(/^writing x to y: SignatureDoesNotMatch \(403\); check the keys/);
});
