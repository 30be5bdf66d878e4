/** Reads what a run left in its folder; what cannot be read makes the run invalid, never the checker fail. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import {
  FaultRecord,
  FencedRecord,
  LogRecord,
  NodeStates,
  OperationRecord,
  RUN_FILES,
  RunPlan,
  SinkRecord,
} from "../operations.ts";

/** Everything that a verdict rests on. */
export interface RunRecords {
  readonly plan: RunPlan;
  /** Lines as they were written: of one operation its `invoke` and, if it was heard of again, its end. */
  readonly operations: readonly OperationRecord[];
  readonly faults: readonly FaultRecord[];
  /** By replica. */
  readonly logs: Readonly<Record<string, readonly LogRecord[]>>;
  readonly states: NodeStates;
  readonly fenced: readonly FencedRecord[];
  readonly sinks: readonly SinkRecord[];
  /** Lines and files that could not be read, in words. */
  readonly problems: readonly string[];
}

/** Throws only when there is no readable plan: then nothing is known of what was to be judged. */
export function readRunFolder(folder: string): RunRecords {
  const problems: string[] = [];
  const files = readdirSync(folder).sort();
  const linesOf = <T>(schema: z.ZodType<T>, name: string): T[] => readLines(join(folder, name), schema, problems);
  const linesIfAny = <T>(schema: z.ZodType<T>, name: string): T[] =>
    existsSync(join(folder, name)) ? linesOf(schema, name) : [];
  const isOperations = (name: string) => name.startsWith(RUN_FILES.operations) && name.endsWith(".jsonl");
  const logs = files.filter((name) => name.startsWith(RUN_FILES.log) && name.endsWith(".jsonl"));
  return {
    plan: RunPlan.parse(readJson(join(folder, RUN_FILES.plan))),
    operations: files.filter(isOperations).flatMap((name) => linesOf(OperationRecord, name)),
    faults: linesOf(FaultRecord, RUN_FILES.nemesis),
    logs: Object.fromEntries(
      logs.map((name) => [name.slice(RUN_FILES.log.length, -".jsonl".length), linesOf(LogRecord, name)]),
    ),
    states: readStates(join(folder, RUN_FILES.states), problems),
    fenced: linesIfAny(FencedRecord, RUN_FILES.fenced),
    sinks: linesIfAny(SinkRecord, RUN_FILES.sinks),
    problems,
  };
}

function readStates(path: string, problems: string[]): NodeStates {
  try {
    return NodeStates.parse(readJson(path));
  } catch (error) {
    problems.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    return {};
  }
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** A last line without its end is what a killed process was writing: its operation has not been heard of. */
function readLines<T>(path: string, schema: z.ZodType<T>, problems: string[]): T[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
    return [];
  }
  const lines = text.split("\n");
  lines.pop();
  return lines.flatMap((line, index) => {
    const parsed = parseLine(line, schema);
    if (typeof parsed !== "string") return [parsed.value];
    problems.push(`${path}:${index + 1}: ${parsed}`);
    return [];
  });
}

function parseLine<T>(line: string, schema: z.ZodType<T>): { readonly value: T } | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return { value: parsed.data };
  const issue = parsed.error.issues[0];
  return `${issue?.path.join(".")}: ${issue?.message}`;
}
