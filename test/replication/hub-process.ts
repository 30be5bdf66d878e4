/** A replication hub as a process: `node hub-process.ts <listen> <sqlite file>`. Says `listening <port>`, and goes on until it is killed. */
import { ReplicationHub } from "../../services/replication/hub.ts";

const [listen = "", path = ""] = process.argv.slice(2);
const told = (event: string, fields?: object): void =>
  void process.stdout.write(`${event} ${JSON.stringify(fields)}\n`);
const hub = await ReplicationHub.start({ listen, path }, { info: told, warn: told, error: told });
process.stdout.write(`listening ${hub.port}\n`);
