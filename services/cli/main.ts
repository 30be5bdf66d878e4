#!/usr/bin/env node
/** The process `omnirelay`: the command of operators and of scripts. */
import "../runtime/require-node.ts";
import { runCli } from "./program.ts";
import { processTerminal } from "./terminal.ts";

process.exitCode = await runCli(process.argv.slice(2), processTerminal());
