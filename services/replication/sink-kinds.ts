/** The kinds of sinks that a process knows, by name, and a configuration checked against them. */
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import type { SinkConfig } from "../../contracts/sinks.ts";
import type { Sink, SinkDeps, SinkKind } from "./sink.ts";

/** What a kind must be made of. */
const Shape = z.looseObject({
  kind: z.string(),
  summary: z.string(),
  guarantee: z.enum(["exactly once", "at least once"]),
  options: z.custom((value) => value instanceof z.ZodType, { error: "must be a schema of zod 4" }),
  create: z.custom((value) => typeof value === "function", { error: "must be a function" }),
});
const KIND_NAME = /^[a-z][a-z0-9-]{0,63}$/;

/** A sink of the configuration with its options as its kind reads them. */
export interface PlannedSink {
  readonly config: SinkConfig;
  create(deps: SinkDeps): Sink;
}

export class SinkKinds {
  readonly #kinds = new Map<string, SinkKind>();

  /** Throws: OperatingError `sink_kind_invalid` (definite) for a name that is taken or none. */
  register<Options>(kind: SinkKind<Options>): this {
    // It may be of a module that nobody has compiled.
    const parsed = Shape.safeParse(kind);
    if (!parsed.success) throw invalidKind(kind, `is none: ${problemsOf(parsed.error).join("; ")}`);
    const { kind: name } = kind;
    if (!KIND_NAME.test(name))
      throw invalidKind(name, "is no name: lower-case letters, digits and -, at most 64 characters");
    if (this.#kinds.has(name)) throw invalidKind(name, "is registered already");
    this.#kinds.set(name, kind as SinkKind);
    return this;
  }

  get names(): readonly string[] {
    return [...this.#kinds.keys()].sort();
  }

  get all(): readonly SinkKind[] {
    return [...this.#kinds.values()];
  }

  /**
   * Throws: OperatingError `sinks_invalid` (definite): its message has a line for everything that is wrong, `details.problems` the same as a list.
   */
  plan(configs: readonly SinkConfig[], shards: readonly string[]): readonly PlannedSink[] {
    const problems: string[] = [];
    const names = new Set<string>();
    const planned = configs.flatMap((config, index) => {
      const where = `sinks[${index}] (${config.name})`;
      if (names.has(config.name)) problems.push(`${where}: there is another sink of this name`);
      names.add(config.name);
      // Two pumps of one process for the same place would both believe that it is theirs.
      if (new Set(config.shards).size < (config.shards?.length ?? 0)) problems.push(`${where}: names a shard twice`);
      for (const shard of config.shards ?? [])
        if (!shards.includes(shard)) problems.push(`${where}: this process does not have the shard ${shard}`);
      const kind = this.#kinds.get(config.kind);
      if (kind === undefined) {
        problems.push(`${where}: there is no kind ${JSON.stringify(config.kind)}; known: ${this.names.join(", ")}`);
        return [];
      }
      const options = kind.options.safeParse(config.options);
      if (options.success) return [{ config, create: (deps: SinkDeps) => kind.create(options.data, deps) }];
      for (const issue of options.error.issues) problems.push(`${where}: ${textOf(issue)}`);
      return [];
    });
    if (problems.length > 0)
      throw new OperatingError("sinks_invalid", `the sinks cannot be used:\n  ${problems.join("\n  ")}`, {
        definite: true,
        details: { problems },
      });
    return planned;
  }
}

function textOf(issue: z.core.$ZodIssue): string {
  const path = ["options", ...issue.path.map(String)].join(".");
  return issue.code === "unrecognized_keys"
    ? `${path} has no option ${issue.keys.join(", ")}`
    : `${path}: ${issue.message}`;
}

const problemsOf = ({ issues }: z.core.$ZodError): readonly string[] =>
  issues.map(({ path, message }) => (path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`));

function invalidKind(kind: unknown, what: string): OperatingError {
  const name = typeof kind === "object" && kind !== null && "kind" in kind ? kind.kind : kind;
  return new OperatingError("sink_kind_invalid", `the kind of sink ${JSON.stringify(name)} ${what}`, {
    definite: true,
  });
}
