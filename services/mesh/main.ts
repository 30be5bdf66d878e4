/** The mesh host as a process: `npm start`. */
import "../runtime/require-node.ts";
import { planSinks } from "../replicator/role.ts";
import { runProcess } from "../runtime/lifecycle.ts";
import { MESH_SETTINGS } from "../runtime/process-settings.ts";
import { MeshHost } from "./host.ts";

await runProcess({
  settings: MESH_SETTINGS,
  command: "npm start --",
  create: async ({ settings, reporter }) => {
    const sinks = settings.roles.includes("replicator") ? await planSinks(settings) : [];
    return new MeshHost(settings, sinks, reporter);
  },
});
