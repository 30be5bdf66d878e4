/** The seeder as a process of its own; ends by itself once its --items are enqueued. */
import "../runtime/require-node.ts";
import { EXIT_CODES, runProcess } from "../runtime/lifecycle.ts";
import { SEEDER_SETTINGS } from "../runtime/process-settings.ts";
import { createSeederRole } from "./role.ts";

await runProcess({
  settings: SEEDER_SETTINGS,
  command: "node services/seeder/main.ts",
  create: ({ settings, reporter }) => {
    const role = createSeederRole({ ...settings, peerId: settings.principal }, { reporter });
    if (settings.items === undefined) return role;
    return {
      name: role.name,
      start: () => role.start(),
      stop: () => role.stop(),
      ready: () => role.ready(),
      codeWhenStopped: () => EXIT_CODES.failed,
      finished: async () => {
        await role.done();
        return role.progress().refused === 0 ? EXIT_CODES.ok : EXIT_CODES.failed;
      },
    };
  },
});
