/** The replicator as a process of its own. */
import "../runtime/require-node.ts";
import { runProcess } from "../runtime/lifecycle.ts";
import { REPLICATOR_SETTINGS } from "../runtime/process-settings.ts";
import { createTelemetry } from "../runtime/telemetry.ts";
import { ReplicatorProcess } from "./process.ts";
import { planSinks } from "./role.ts";

await runProcess({
  settings: REPLICATOR_SETTINGS,
  command: "node services/replicator/main.ts",
  create: async ({ settings, reporter }) => {
    const sinks = await planSinks(settings);
    return new ReplicatorProcess(settings, { reporter, sinks, telemetry: createTelemetry() });
  },
});
