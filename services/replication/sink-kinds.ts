/** The kinds of sinks that a process knows, by name, and a configuration checked against them. */
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { SinkConfig } from "../../contracts/sinks.ts";
import { optionProblems } from "./option-problems.ts";
import type { Sink, SinkDeps, SinkKind } from "./sink.ts";

/** What a kind must be made of. */
const Shape = z.looseObject({
  kind: z.string(),
  summary: z.string(),
  guarantee: z.enum(["exactly once", "at least once"]),
  options: z.custom((value) => value instanceof z.ZodType, { error: "must be a schema of zod 4" }),
  target: z.custom((value) => typeof value === "function", { error: "must be a function" }).optional(),
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
   * The sinks of a configuration, as it was written: `configs` are not checked before.
   * Throws: OperatingError `sinks_invalid` (definite): its message has a line for everything that is wrong, `details.problems` the same as a list.
   */
  plan(configs: readonly unknown[], shards: readonly string[]): readonly PlannedSink[] {
    const problems: string[] = [];
    const planned = configs.flatMap((config, index): readonly ReadSink[] => {
      const where = whereOf(config, index);
      const tell = (problem: string): void => void problems.push(`${where}: ${problem}`);
      const sink = this.#read(config, where, tell);
      for (const problem of sink === undefined ? [] : shardProblems(sink.config, shards)) tell(problem);
      return sink === undefined ? [] : [sink];
    });
    problems.push(...sharedNames(configs), ...sharedTargets(planned, shards));
    if (problems.length === 0) return planned;
    const message = `the sinks cannot be used (\`omnirelay sink kinds --json\` prints the options of our kinds):\n  ${problems.join("\n  ")}`;
    throw new OperatingError("sinks_invalid", message, { definite: true, details: { problems } });
  }

  /** One sink with its options; undefined when something is wrong with it, which is told. */
  #read(written: unknown, where: string, tell: (problem: string) => void): ReadSink | undefined {
    const config = SinkConfig.safeParse(written, { reportInput: true });
    if (!config.success) for (const problem of optionProblems(config.error)) tell(problem);
    const { kind: name, options: given } = { ...(written as { kind?: unknown; options?: unknown } | null) };
    if (typeof name !== "string") return undefined;
    const kind = this.#kinds.get(name);
    if (kind === undefined) {
      tell(`there is no kind ${JSON.stringify(name)}; known: ${this.names.join(", ")}`);
      return undefined;
    }
    // What is no object at all was told above.
    if (typeof (given ?? {}) !== "object") return undefined;
    const options = kind.options.safeParse(given ?? {}, { reportInput: true });
    if (!options.success) for (const problem of optionProblems(options.error, ["options"])) tell(problem);
    if (!config.success || !options.success) return undefined;
    const target = kind.target?.(options.data, config.data.name);
    return { config: config.data, where, target, create: (deps) => kind.create(options.data, deps) };
  }
}

/** A sink that can be used, as far as it alone is concerned. */
interface ReadSink extends PlannedSink {
  readonly where: string;
  readonly target: string | undefined;
}

function whereOf(config: unknown, index: number): string {
  const name = typeof config === "object" && config !== null && "name" in config ? config.name : undefined;
  return typeof name === "string" ? `sinks[${index}] (${name})` : `sinks[${index}]`;
}

function* shardProblems({ shards = [] }: SinkConfig, known: readonly string[]): Generator<string> {
  // Two pumps of one process for the same place would both believe that it is theirs.
  if (new Set(shards).size < shards.length) yield "names a shard twice";
  for (const shard of shards) if (!known.includes(shard)) yield `this process does not have the shard ${shard}`;
}

function* sharedNames(configs: readonly unknown[]): Generator<string> {
  const names = new Set<unknown>();
  for (const [index, config] of configs.entries()) {
    const { name } = { ...(config as { name?: unknown } | null) };
    if (typeof name === "string" && names.has(name))
      yield `${whereOf(config, index)}: there is another sink of this name`;
    names.add(name);
  }
}

/** Two sinks that write to the same for the same shard take it from each other for ever. */
function* sharedTargets(planned: readonly ReadSink[], shards: readonly string[]): Generator<string> {
  const writers = new Map<string, string>();
  for (const { config, where, target } of planned)
    for (const shard of target === undefined ? [] : new Set(config.shards ?? shards)) {
      const key = `${target} ${shard}`;
      const other = writers.get(key);
      if (other === undefined) writers.set(key, where);
      else yield `${where}: ${other} writes to ${target} as well, for the shard ${shard}`;
    }
}

const problemsOf = ({ issues }: z.core.$ZodError): readonly string[] =>
  issues.map(({ path, message }) => (path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`));

function invalidKind(kind: unknown, what: string): OperatingError {
  const name = typeof kind === "object" && kind !== null && "kind" in kind ? kind.kind : kind;
  return new OperatingError("sink_kind_invalid", `the kind of sink ${JSON.stringify(name)} ${what}`, {
    definite: true,
  });
}
