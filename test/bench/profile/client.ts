/** The client process of `npm run profile`: drives one scenario after another with the SDK of a checkout, as it is asked over IPC. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { drivesOf } from "./drives.ts";
import type { Scenario } from "./options.ts";

const [checkout = "", url = "", shard = ""] = process.argv.slice(2);
const drives = drivesOf(await import(pathToFileURL(join(checkout, "services/client/mod.ts")).href));

process.on("message", ({ scenario, items }: { scenario?: Scenario; items?: number }) => {
  if (scenario === undefined || items === undefined) return;
  void drives[scenario]({ url, shard, items }).then((rate) => process.send?.({ rate }));
});
process.channel?.ref();
process.send?.({ ready: true });
