/** The kind `objects` of sinks: its options, and which place they name. */
import { z } from "zod";
import type { Sink, SinkDeps, SinkKind } from "../sink.ts";
import { lazySink } from "./lazy-sink.ts";
import { FilePlace } from "./objects-files.ts";
import { BucketPlace } from "./objects-jetstream.ts";
import type { ObjectPlace } from "./objects-place.ts";
import type { S3Credentials } from "./objects-s3.ts";
import { ObjectsSink } from "./objects-sink.ts";
import { readSecret, SecretSource } from "./secret-source.ts";
import { folderTarget } from "./sink-files.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const EVENTS_PER_OBJECT_DEFAULT = 1_000;
const EVENTS_PER_OBJECT_MAX = 100_000;
const BYTES_PER_OBJECT_DEFAULT = 4 * MIB;
const BYTES_PER_OBJECT_MAX = 64 * MIB;
const S3_TIMEOUT_MS_DEFAULT = 30_000;
const S3_TIMEOUT_MS_MAX = 600_000;
const S3_REGION_DEFAULT = "us-east-1";

const bounds = {
  eventsPerObject: z
    .int()
    .min(1)
    .max(EVENTS_PER_OBJECT_MAX)
    .default(EVENTS_PER_OBJECT_DEFAULT)
    .describe("Most events in one object. A batch of the pump is cut into as few as these bounds allow."),
  bytesPerObject: z
    .int()
    .min(KIB)
    .max(BYTES_PER_OBJECT_MAX)
    .default(BYTES_PER_OBJECT_DEFAULT)
    .describe("Most bytes of events in one object; an event that is larger has one of its own. Bytes."),
};

const Prefix = z
  .string()
  .max(200)
  .regex(/^([A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?$/)
  .optional()
  .describe("In front of `<region>/<shard>/`; absent: the name of the sink; empty: nothing.");

const FilesOptions = z.strictObject({
  store: z.literal("files").describe("Files of a folder. The options up to the next `store` are its own."),
  folder: z
    .string()
    .min(1)
    .describe("Folder of the objects, created when it is missing; a relative path is below the working directory."),
  ...bounds,
});

const JetStreamOptions = z.strictObject({
  store: z
    .literal("jetstream")
    .describe("The object store of JetStream. The options up to the next `store` are its own."),
  bucket: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/)
    .default("omnirelay-objects")
    .describe("Bucket of the object store, created when it is missing."),
  prefix: Prefix,
  replicas: z.int().min(1).max(5).default(1).describe("Replicas of a bucket that is created."),
  maxBytes: z.int().min(MIB).optional().describe("Limit of a bucket that is created; absent: none. Bytes."),
  ...bounds,
});

const S3Keys = z.strictObject({
  accessKeyId: SecretSource,
  secretAccessKey: SecretSource,
  sessionToken: SecretSource.optional(),
});

const S3Options = z.strictObject({
  store: z.literal("s3").describe("S3, or what speaks its protocol. The options below are its own."),
  bucket: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/)
    .describe("Bucket; it must be there."),
  prefix: Prefix,
  region: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,64}$/)
    .default(S3_REGION_DEFAULT)
    .describe("Region of the bucket."),
  endpoint: z
    .url({ protocol: /^https?$/ })
    .refine((text) => URL.parse(text)?.username === "" && URL.parse(text)?.password === "", {
      error: "must not hold a user or a password; use `credentials`",
    })
    .optional()
    .describe("URL of a service that speaks the protocol of S3; absent: Amazon's."),
  forcePathStyle: z
    .boolean()
    .optional()
    .describe("Whether the bucket stands in the path, not in the host; absent: only where `endpoint` is set."),
  credentials: S3Keys.optional().describe(
    "Where the keys are read; absent: where the AWS SDK looks (AWS_ACCESS_KEY_ID, shared files, role of the machine).",
  ),
  timeoutMs: z
    .int()
    .min(100)
    .max(S3_TIMEOUT_MS_MAX)
    .default(S3_TIMEOUT_MS_DEFAULT)
    .describe("For one request as a whole. ms."),
  ...bounds,
});

const ObjectsOptions = z.discriminatedUnion("store", [FilesOptions, JetStreamOptions, S3Options]);
type ObjectsOptions = Readonly<z.infer<typeof ObjectsOptions>>;

export const objectsKind: SinkKind<ObjectsOptions> = {
  kind: "objects",
  summary: "Events as objects that are written once: files, the JetStream object store, or S3.",
  guarantee: "exactly once",
  options: ObjectsOptions,
  target: (options, sink) => {
    if (options.store === "files") return folderTarget(options.folder);
    const { store, bucket, prefix = sink } = options;
    const where = store === "s3" && options.endpoint !== undefined ? ` at ${options.endpoint}` : "";
    return `${JSON.stringify(prefix)} of the ${store} bucket ${bucket}${where}`;
  },
  create: (options, deps) => {
    const { eventsPerObject, bytesPerObject } = options;
    const prefix = options.store === "files" ? "" : options.prefix;
    const sinkOf = (place: ObjectPlace): Sink =>
      new ObjectsSink(place, { prefix, eventsPerObject, bytesPerObject }, deps);
    return options.store === "s3"
      ? lazySink(async () => sinkOf(await s3Place(options)))
      : sinkOf(placeOf(options, deps));
  },
};

function placeOf(options: Exclude<ObjectsOptions, { store: "s3" }>, { connection }: SinkDeps): ObjectPlace {
  if (options.store === "files") return new FilePlace(options.folder);
  const { bucket, replicas, maxBytes } = options;
  return new BucketPlace(connection, { bucket, replicas, maxBytes });
}

/** Throws: OperatingError, definite: `secret_unusable`, `option_file_unusable`. */
async function s3Place(options: Extract<ObjectsOptions, { store: "s3" }>): Promise<ObjectPlace> {
  const { S3Place } = await import("./objects-s3.ts");
  const { bucket, region, endpoint, timeoutMs, forcePathStyle = endpoint !== undefined } = options;
  const credentials = options.credentials === undefined ? undefined : credentialsOf(options.credentials);
  return new S3Place({ bucket, region, endpoint, timeoutMs, forcePathStyle, credentials });
}

function credentialsOf({ accessKeyId, secretAccessKey, sessionToken }: z.infer<typeof S3Keys>): S3Credentials {
  const keys = { accessKeyId: readSecret(accessKeyId), secretAccessKey: readSecret(secretAccessKey) };
  return sessionToken === undefined ? keys : { ...keys, sessionToken: readSecret(sessionToken) };
}
