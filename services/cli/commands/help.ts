/** `omnirelay help`: the help of one command, or with `--all` of every command as one Markdown document. */
import { Command } from "commander";
import type { Terminal } from "../terminal.ts";

export function helpCommand(terminal: Terminal, program: Command): Command {
  return new Command("help")
    .description("Print the help of a command.")
    .argument("[command...]", "name of the command, such as: log tail")
    .option("--all", "print the help of every command as Markdown")
    .action((names: readonly string[], options: { readonly all?: boolean }) => {
      if (options.all === true) {
        for (const command of withInner(program)) terminal.out(markdownOf(command, program));
        return;
      }
      let command = program;
      for (const name of names) {
        const inner = command.commands.find((candidate) => candidate.name() === name);
        if (inner === undefined) return program.error(`error: there is no command '${names.join(" ")}'`);
        command = inner;
      }
      command.outputHelp();
    });
}

function withInner(command: Command): readonly Command[] {
  return [command, ...command.commands.filter((inner) => inner.name() !== "help").flatMap(withInner)];
}

function markdownOf(command: Command, program: Command): string {
  let text = "";
  // `outputHelp` and not `helpInformation`: only the former has the examples behind the help.
  command.configureOutput({
    ...command.configureOutput(),
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => 110,
  });
  command.outputHelp();
  const names = command === program ? "omnirelay" : `omnirelay ${pathBelow(command, program)}`;
  return `## ${names}\n\n\`\`\`text\n${text.trim()}\n\`\`\`\n`;
}

function pathBelow(command: Command, program: Command): string {
  const parent = command.parent;
  return parent === null || parent === program ? command.name() : `${pathBelow(parent, program)} ${command.name()}`;
}
