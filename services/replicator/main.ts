/** The replicator as a process of its own. */
import "../runtime/require-node.ts";
import { runProcess } from "../runtime/lifecycle.ts";
import { REPLICATOR_SETTINGS } from "../runtime/process-settings.ts";
import { createTelemetry } from "../runtime/telemetry.ts";
import { ReplicatorProcess } from "./process.ts";

await runProcess({
  settings: REPLICATOR_SETTINGS,
  command: "node services/replicator/main.ts",
  create: ({ settings, reporter }) => new ReplicatorProcess(settings, { reporter, telemetry: createTelemetry() }),
});
