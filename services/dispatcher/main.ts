/** The dispatcher as a process of its own: leads and stands by for its shards until it is told to stop. */
import "../runtime/require-node.ts";
import { runProcess } from "../runtime/lifecycle.ts";
import { DISPATCHER_SETTINGS } from "../runtime/process-settings.ts";
import { natsServers } from "../runtime/settings.ts";
import { createDispatcherRole } from "./role.ts";

await runProcess({
  settings: DISPATCHER_SETTINGS,
  command: "node services/dispatcher/main.ts",
  create: ({ settings, reporter }) =>
    createDispatcherRole({ ...settings, natsUrl: natsServers(settings.natsUrl) }, { reporter }),
});
