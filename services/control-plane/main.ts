/** The control plane as a process of its own. */
import "../runtime/require-node.ts";
import { runProcess } from "../runtime/lifecycle.ts";
import { CONTROL_PLANE_SETTINGS } from "../runtime/process-settings.ts";
import { createControlPlaneRole } from "./role.ts";

await runProcess({
  settings: CONTROL_PLANE_SETTINGS,
  command: "node services/control-plane/main.ts",
  create: ({ settings, reporter }) => createControlPlaneRole({ ...settings, peerId: settings.principal }, { reporter }),
});
