/** Health of a container, asked by its own health check: `node infra/compose/health.ts KIND`. Exit code 0, or 1 with a line that says why. */
import { Gossip } from "../../contracts/gossip.ts";
import { principalOfPeer } from "../../contracts/ids.ts";
import { gossipSubject, rpcSubject } from "../../contracts/subjects.ts";
import { connectNats } from "../../services/jetstream/connect.ts";

const ANSWER_MS = 3_000;
const { OMNIRELAY_NATS_URL = "", OMNIRELAY_PEER_ID = "", OMNIRELAY_REGION = "local" } = process.env;
const SHARD = "default";

/** Each throws when it is not well. */
const CHECKS: Readonly<Record<string, () => Promise<unknown>>> = {
  nats: () => page("http://127.0.0.1:8222/healthz?js-enabled-only=true"),
  "control-plane": () => page("http://127.0.0.1:5158/healthz"),
  replicator: () => page("http://127.0.0.1:5159/healthz"),
  dispatcher: hosts,
  worker: reachesLeader,
};

async function page(url: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (!response.ok) throw new Error(`${url} answers ${response.status}: ${await response.text()}`);
}

/** A dispatcher says twice a second what it leads and follows; the others go by that too. */
async function hosts(): Promise<void> {
  const connection = await connectNats({ servers: OMNIRELAY_NATS_URL.split(","), name: "health" });
  try {
    const words = connection.subscribe(gossipSubject(OMNIRELAY_REGION, principalOfPeer(OMNIRELAY_PEER_ID)), {
      timeout: ANSWER_MS,
    });
    for await (const message of words) {
      const word = Gossip.parse(message.json());
      if (word.peer !== OMNIRELAY_PEER_ID) continue;
      const absent = word.shards.filter(({ part }) => part === "absent").map(({ shard }) => shard);
      if (absent.length > 0) throw new Error(`neither leads nor follows ${absent.join(", ")}`);
      return;
    }
  } finally {
    await connection.close();
  }
}

/** A worker has no word of its own: it is well when the shard's leader answers where it stands. */
async function reachesLeader(): Promise<void> {
  const connection = await connectNats({ servers: OMNIRELAY_NATS_URL.split(","), name: "health" });
  try {
    await connection.request(rpcSubject(SHARD, "stats", "health"), "", { timeout: ANSWER_MS });
  } finally {
    await connection.close();
  }
}

const kind = process.argv[2] ?? "";
const check = Object.hasOwn(CHECKS, kind) ? CHECKS[kind] : undefined;
try {
  if (check === undefined) throw new Error(`there is no check "${kind}"; there are ${Object.keys(CHECKS).join(", ")}`);
  await check();
  process.exit(0);
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
