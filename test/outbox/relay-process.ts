/**
 * A relay as a process that kills itself before, or after, one statement: `node relay-process.ts <sqlite file or postgres URL> <nats url> <peer name>
 * <before|after|never> <text> <n>`: the n-th statement with that text. With `never` it goes on until it is told to stop.
 */
import pg from "pg";
import { type OutboxDatabase, OutboxRelay } from "../../services/outbox/mod.ts";
import { nodeSqlite } from "./outbox-subjects.ts";

const [database = "", servers = "", peerName = "", mode = "never", text = "", nth = ""] = process.argv.slice(2);
let statements = 0;

function die(when: string, sql: string): void {
  if (!sql.includes(text)) return;
  if (when === "before") statements += 1;
  if (when === mode && statements === Number(nth)) process.kill(process.pid, "SIGKILL");
}

function opened(): OutboxDatabase {
  if (database.startsWith("postgres:")) {
    const pool = new pg.Pool({ connectionString: database });
    return {
      query: async (sql, values) => {
        die("before", sql);
        const result = await pool.query(sql, values);
        die("after", sql);
        return result;
      },
    };
  }
  const db = nodeSqlite(database);
  return {
    prepare: (sql) => ({
      all: (...values) => {
        die("before", sql);
        const rows = db.prepare(sql).all(...values);
        die("after", sql);
        return rows;
      },
    }),
  };
}

const relay = await OutboxRelay.connect(opened(), {
  client: { servers, shard: "default", principal: "service", peerName },
  ...{ batchSize: 4, turnMs: 300, pollMs: 10 },
  onError: (error) => process.stdout.write(`${error.message}\n`),
  onParked: ({ reason }) => process.stdout.write(`parked: ${reason}\n`),
});
relay.start();
process.stdout.write("started\n");
process.stdin.once("data", () => void relay.stop().then(() => process.exit(0)));
