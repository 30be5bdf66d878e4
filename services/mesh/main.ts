/** The mesh host as a process: `npm start`. */
import "../runtime/require-node.ts";
import { runProcess } from "../runtime/lifecycle.ts";
import { MESH_SETTINGS } from "../runtime/process-settings.ts";
import { MeshHost } from "./host.ts";

await runProcess({
  settings: MESH_SETTINGS,
  command: "npm start --",
  create: ({ settings, reporter }) => new MeshHost(settings, reporter),
});
