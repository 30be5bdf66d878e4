/** The worker as a process of its own. */
import "../runtime/require-node.ts";
import { runProcess } from "../runtime/lifecycle.ts";
import { WORKER_SETTINGS } from "../runtime/process-settings.ts";
import { createWorkerRole } from "./role.ts";

await runProcess({
  settings: WORKER_SETTINGS,
  command: "node services/worker/main.ts",
  create: ({ settings, reporter }) => createWorkerRole(settings, { reporter }),
});
