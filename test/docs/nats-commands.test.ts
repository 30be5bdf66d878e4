/** The commands of the `nats` tool in the documents name what the code makes: a subject, stream, bucket or key that is renamed is renamed there. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { REQUESTS } from "../../contracts/commands.ts";
import { OutwardType } from "../../contracts/envelope.ts";
import {
  CHECKPOINT_BUCKET,
  changesStream,
  changesSubject,
  checkpointKey,
  isVerb,
  parseRpcSubject,
  rpcSubject,
  SUBJECTS,
} from "../../contracts/subjects.ts";
import { SNAPSHOT_BUCKET } from "../../services/jetstream/object-snapshots.ts";
import { objectsKind } from "../../services/replication/sinks/objects-kind.ts";
import { objectName } from "../../services/replication/sinks/objects-place.ts";

const ROOT = join(import.meta.dirname, "../..");
const DOCUMENTS = globSync(["README.md", "docs/*.md", "docs/examples/*/README.md"], { cwd: ROOT }).map((path) => ({
  path,
  text: readFileSync(join(ROOT, path), "utf8"),
}));

/** Where a mesh of the documents has its streams. */
const HOME = ["local", "default"] as const;
const CHANGES = changesStream(...HOME);
const OBJECT_BUCKET = (objectsKind.options.parse({ store: "jetstream" }) as { readonly bucket: string }).bucket;

/** Sinks that the documents configure. */
const SINKS: readonly string[] = DOCUMENTS.flatMap(({ text }) =>
  [...text.matchAll(/^\[\[sinks\]\]\nname = "([^"]+)"/gm)].map(([, name = ""]) => name),
);

interface NatsCommand {
  readonly path: string;
  /** Without `nats`. A text in quotes is one word. */
  readonly words: readonly string[];
}

/** In a block, or within a line between backticks; names of commands that stand there without arguments are none. */
const COMMANDS: readonly NatsCommand[] = DOCUMENTS.flatMap(({ path, text }) =>
  [...text.matchAll(/(?:^|`)nats ([^`\n]+)/gm)].map(([, line = ""]) => ({
    path,
    words: [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? ""),
  })),
);

/** What a command may name; a command that is not here is one that nobody has checked. */
const CHECKS: Readonly<Record<string, (...words: readonly string[]) => void>> = {
  req: (subject = "", body = "") => {
    const address = parseRpcSubject(subject);
    if (address === undefined || !isVerb(address.verb)) throw new Error(`${subject} is no subject of a verb`);
    expect(rpcSubject("default", address.verb, address.principal)).toBe(subject);
    const request = body.replace(/"ITEM"/, '"1"').replace(/TOKEN/, "1");
    expect(REQUESTS[address.verb].safeParse(request === "" ? {} : JSON.parse(request)).error).toBeUndefined();
  },
  "stream info": (stream) => expect(stream).toBe(CHANGES),
  "stream view": (stream, ...options) => isOfChanges(stream, options, "--subject"),
  "stream purge": (stream) => expect(stream).toBe(CHANGES),
  "consumer add": (stream, _name, ...options) => isOfChanges(stream, options, "--filter"),
  "consumer next": (stream) => expect(stream).toBe(CHANGES),
  "kv ls": (bucket) => expect(bucket).toBe(CHECKPOINT_BUCKET),
  "kv get": (bucket, key) => {
    expect(bucket).toBe(CHECKPOINT_BUCKET);
    expect(SINKS.map((sink) => checkpointKey(sink, ...HOME))).toContain(key);
  },
  "object ls": (bucket) => expect(bucket).toBe(OBJECT_BUCKET),
  "object get": (bucket, name) => {
    expect(bucket).toBe(OBJECT_BUCKET);
    expect(SINKS.map((sink) => objectName([sink, ...HOME].join("/"), 1))).toContain(name);
  },
  "object rm": (bucket) => expect(bucket).toBe(SNAPSHOT_BUCKET),
  "micro ls": () => undefined,
};

function isOfChanges(stream: string | undefined, options: readonly string[], option: string): void {
  expect(stream).toBe(CHANGES);
  const subject = options[options.indexOf(option) + 1];
  expect(OutwardType.options.map((type) => changesSubject(...HOME, type, "*"))).toContain(subject);
}

test("the documents have such commands, and sinks that they are about", () => {
  expect(COMMANDS.length).toBeGreaterThan(15);
  expect(SINKS).toContain("audit");
});

describe("the nats commands of the documents name what the code makes", () => {
  test.each(COMMANDS.map(({ path, words }) => [path, words.join(" "), words] as const))("%s: nats %s", (...command) => {
    const [, , [first = "", second = "", ...rest]] = command;
    const [check, named] =
      CHECKS[first] === undefined ? [CHECKS[`${first} ${second}`], rest] : [CHECKS[first], [second, ...rest]];
    if (check === undefined) throw new Error(`nobody checks nats ${first} ${second}: add it here`);
    check(...named);
  });
});

test("streams and subjects that the documents write out are those of the table of the bus", () => {
  const table = SUBJECTS.map(({ pattern, description }) => `${pattern} ${description}`).join(" ");
  const known = new Set([...table.matchAll(NAMES)].map(([name]) => shapeOf(name)));
  for (const { path, text } of DOCUMENTS)
    for (const [name] of text.matchAll(NAMES))
      expect([path, [...known]]).toEqual([path, expect.arrayContaining([shapeOf(name)])]);
});

const NAMES =
  /LEASE_(?:LOG|CHANGES|PARKED)_[\w<>]+|omnirelay\.(?:log|changes|ready|backpressure|gossip|ping|parked)\.[\w<>*.-]+|\$KV\.[\w<>.-]+/g;
/** Without the names of one mesh. */
const shapeOf = (name: string): string =>
  name
    .replace(/[._]local[._]default/, (found) => found.replace("local", "<region>").replace("default", "<shard>"))
    .replace(".Completed.*", ".<eventType>.<resourceType>");
