/** Tells what is wrong with options, one problem a line, in words for whoever wrote them. Values are not repeated: one may be a secret in the wrong place. */
import type { z } from "zod";

type Issue = z.core.$ZodIssue;

/** `error` must come from a parse with `reportInput`; `path` is what stands before the paths of its issues. */
export function optionProblems(error: z.core.$ZodError, path: readonly string[] = []): readonly string[] {
  return error.issues.flatMap((issue) => {
    const where = pathText([...path, ...issue.path]);
    if (issue.code !== "unrecognized_keys") return [where === "" ? wordsOf(issue) : `${where}: ${wordsOf(issue)}`];
    return issue.keys.map((key) => (where === "" ? `has no option ${key}` : `${where}: has no option ${key}`));
  });
}

/** `batch.events`, `options.secrets[0].env` */
function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return text === "" ? String(part) : `${text}.${String(part)}`;
  }, "");
}

function wordsOf(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return issue.input === undefined
        ? `is missing; give ${wanted(issue.expected)}`
        : `must be ${wanted(issue.expected)}`;
    case "too_small":
      return `must ${sizeText(issue.origin, "at least", issue.minimum)}`;
    case "too_big":
      return `must ${sizeText(issue.origin, "at most", issue.maximum)}`;
    case "invalid_format":
      return issue.pattern === undefined ? `must be a valid ${issue.format}` : `must match ${issue.pattern}`;
    case "invalid_value":
      return `must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.map(String).join(", ")}`;
    case "invalid_union":
      return "options" in issue && issue.options !== undefined
        ? `must be one of ${issue.options.map(String).join(", ")}`
        : issue.message;
    case "custom":
    case "invalid_element":
    case "invalid_key":
    case "not_multiple_of":
    case "unrecognized_keys":
      return issue.message;
  }
}

const KINDS: Readonly<Record<string, string>> = {
  ...{ string: "a text", int: "a whole number", number: "a number", boolean: "true or false" },
  ...{ array: "a list", object: "an object", record: "an object" },
};
const wanted = (expected: string): string => KINDS[expected] ?? `of the type ${expected}`;

const COUNTED: Readonly<Record<string, readonly [one: string, many: string]>> = {
  string: ["character", "characters"],
  array: ["entry", "entries"],
};
function sizeText(origin: string, bound: string, size: number | bigint): string {
  const counted = COUNTED[origin];
  return counted === undefined ? `be ${bound} ${size}` : `have ${bound} ${size} ${counted[Number(size) === 1 ? 0 : 1]}`;
}

/** For `when` of a rule between options: it is looked at although others are wrong, so that all that is wrong is told at once. */
export const isObject = ({ value }: { readonly value: unknown }): boolean =>
  typeof value === "object" && value !== null;
