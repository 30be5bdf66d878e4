/** A server whose clients may not publish on one subject, until the test lets them: what a part of NATS that cannot be asked looks like. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";

/** For `extraConfig`: who comes without a name may all, or all but `subject`; the user `denied` with password `p` never may. */
export function denying(subject: string, who: "everybody" | "denied"): string {
  const rights = `permissions: { publish: { deny: ["${subject}"] } }`;
  const users = [
    `{ user: all, password: p${who === "everybody" ? `, ${rights}` : ""} }`,
    `{ user: denied, password: p, ${rights} }`,
  ];
  return `accounts { A: { jetstream: enabled, users: [${users.join(", ")}] } }\nno_auth_user: all`;
}

/** Allows it while the server runs. */
export function allow(server: NatsServer, subject: string): void {
  const [launch = ""] = readdirSync(server.storeDir).filter((name) => name.startsWith("launch-"));
  const file = join(server.storeDir, launch, "nats-server.conf");
  writeFileSync(file, readFileSync(file, "utf8").replaceAll(subject, "nothing"));
  process.kill(server.pid, "SIGHUP");
}
