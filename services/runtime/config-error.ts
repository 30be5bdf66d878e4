/** The error of a configuration that cannot be used: all problems at once, each with its place and its fix. */
import { OperatingError } from "../../contracts/errors.ts";

export interface ConfigProblem {
  /** Where it was written: a flag, a variable, a key of a file, or the file. */
  readonly source: string;
  readonly message: string;
  readonly fix: string;
}

export class ConfigError extends OperatingError {
  readonly problems: readonly ConfigProblem[];

  constructor(processName: string, problems: readonly ConfigProblem[]) {
    const lines = problems.map(({ source, message, fix }) => `  ${source} ${message}: ${fix}`);
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    super("invalid_configuration", `the configuration of the ${processName} has ${count}:\n${lines.join("\n")}`, {
      definite: true,
      details: { problems },
    });
    this.name = "ConfigError";
    this.problems = problems;
  }
}
