/** Runs scenarios against peers: one system at a time, each run on fresh servers, the peers in turn within each round. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Actor } from "./actor.ts";
import { type LoadResult, RunningClient } from "./client-process.ts";
import { countFsyncs } from "./fsync-count.ts";
import { PAYLOAD_BYTES } from "./items.ts";
import { type Probe, probeMachine } from "./machine.ts";
import type { Figures } from "./meter.ts";
import type { Durability, Peer, PeerServer, PeerSettings } from "./peers/peer.ts";
import { type About, firstLine, type NotRun, type Row, type Syncs } from "./results.ts";
import type { Amounts, Cases, LoadScenario, Scenario, Size } from "./scenarios/scenario.ts";
import { onProcessor } from "./servers/processes.ts";

export interface SuiteRequest {
  readonly scenarios: readonly Scenario[];
  readonly peers: readonly Peer[];
  readonly durabilities: readonly Durability[];
  readonly runs: number;
  readonly size: Size;
  /** Changes amounts of scenarios, by name. */
  readonly amounts: Amounts;
  readonly placement: "pinned" | "free";
  readonly seed: number;
  /** The other checkout. */
  readonly base: string | undefined;
  /** Counts fsyncs in a further run of each peer's life of an item. */
  readonly countsFsyncs: boolean;
  readonly report: (line: string) => void;
}

export interface SuiteResult {
  readonly rows: readonly Row[];
  readonly notRun: readonly NotRun[];
  readonly syncs: readonly Syncs[];
  readonly probes: readonly Probe[];
  readonly peers: Readonly<Record<string, About>>;
}

/** Subtracted from what an event takes in the log before it is compared with the payload: its names, numbers and hashes. Bytes. */
const EVENT_BYTES = 150;
/** fsyncs of one look at how fast the machine is: enough for a p99. */
const SYNCS_PROBED = 3_000;
/** Enqueued, leased, completed. */
const EVENTS_PER_ITEM = 3;

export class Suite {
  readonly #request: SuiteRequest;
  readonly #rows = new Map<string, Row & { runs: Figures[]; doubles: number }>();
  readonly #notRun = new Map<string, NotRun>();
  readonly #syncs: Syncs[] = [];
  readonly #probes: Probe[] = [];
  readonly #peers: Record<string, About> = {};
  /** What must go whatever happens, the latest first. */
  readonly #running: (() => Promise<void>)[] = [];
  #isStopped = false;

  constructor(request: SuiteRequest) {
    this.#request = request;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  async run(): Promise<SuiteResult> {
    const { scenarios, durabilities, runs } = this.#request;
    for (const durability of durabilities)
      for (const scenario of scenarios) {
        const peers = await this.#fit(scenario, durability);
        const rounds = Math.min(runs, scenario.runsMax ?? runs);
        for (let round = 1; round <= rounds; round += 1) {
          this.#probes.push(probeMachine(this.#request.size === "full" ? SYNCS_PROBED : 50));
          for (const peer of peers) await this.#try(scenario, peer, durability, `${round} of ${rounds}`);
        }
        if (scenario.name === "S5" && scenario.kind === "load" && this.#request.countsFsyncs)
          for (const peer of peers) await this.#trySyncs(scenario, peer, durability);
      }
    return {
      rows: [...this.#rows.values()],
      notRun: [...this.#notRun.values()],
      syncs: this.#syncs,
      probes: this.#probes,
      peers: this.#peers,
    };
  }

  /** Ends whatever runs, and lets `run` fail. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const end of this.#running.splice(0).reverse()) await end().catch(() => undefined);
  }

  async #fit(scenario: Scenario, durability: Durability): Promise<readonly Peer[]> {
    const fit: Peer[] = [];
    for (const peer of this.#request.peers) {
      if (peer.only !== undefined && !peer.only.includes(scenario.name)) continue;
      if (scenario.peers !== undefined && !scenario.peers.includes(peer.name)) continue;
      const reason = scenario.unfit?.(peer) ?? (await peer.missing());
      if (reason === undefined) fit.push(peer);
      else this.#leftOut({ scenario: scenario.name, durability, ...placeOf(peer), reason, isFailure: false });
    }
    return fit;
  }

  #leftOut(notRun: NotRun): void {
    const { scenario, durability, peer, reason } = notRun;
    this.#request.report(`${scenario} ${durability} ${peer}: not run: ${firstLine(reason)}`);
    this.#notRun.set(`${scenario} ${durability} ${peer} ${reason}`, notRun);
  }

  async #try(scenario: Scenario, peer: Peer, durability: Durability, round: string): Promise<void> {
    const name = `${scenario.name} ${durability} ${peer.name}`;
    if (this.#isStopped) throw new Error("the suite was stopped");
    try {
      const { cases, doubles } = await this.#one(scenario, peer, durability);
      for (const [each, figures] of Object.entries(cases)) {
        const key = `${name} ${each}`;
        const row = this.#rows.get(key) ?? {
          ...{ scenario: scenario.name, case: each, durability, ...placeOf(peer) },
          ...{ runs: [], doubles: 0 },
        };
        row.runs.push(figures);
        row.doubles += doubles;
        this.#rows.set(key, row);
        this.#request.report(`${name} ${each === "" ? "" : `${each} `}run ${round}: ${figures.value} ${scenario.unit}`);
      }
    } catch (error) {
      if (this.#isStopped) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      this.#leftOut({ scenario: scenario.name, durability, ...placeOf(peer), reason, isFailure: true });
    }
  }

  async #one(
    scenario: Scenario,
    peer: Peer,
    durability: Durability,
  ): Promise<{ readonly cases: Cases; readonly doubles: number }> {
    const amounts = { ...scenario.sizes[this.#request.size], ...this.#request.amounts };
    return this.#inBed(peer, durability, async (bed) => {
      if (scenario.kind === "load") {
        const { cases, doubles, itemsMade } = await this.#load(scenario, bed, amounts);
        return { cases: scenario.name === "S5" ? await withLog(cases, bed.server, itemsMade) : cases, doubles };
      }
      const cases = await scenario.direct({
        ...{ peer, amounts, report: this.#request.report },
        // What is started again is to run where it ran before.
        crash: () => onProcessor(this.#processor(peer, 0), () => bed.server.crash()),
        actor: async (settings) => new Actor(await this.#client(bed, settings)),
      });
      return { cases, doubles: 0 };
    });
  }

  async #load(scenario: LoadScenario, bed: Served, amounts: Amounts): Promise<LoadResult> {
    const client = await this.#client(bed, scenario.settings?.(amounts) ?? {});
    const { seed } = this.#request;
    const { processes } = bed.server;
    const result = await client.ask({
      ...{ kind: "load", scenario: scenario.name, amounts, seed, processes, folder: bed.folder },
    });
    if (result === undefined) throw new Error("the client gave no result");
    return result;
  }

  async #trySyncs(scenario: LoadScenario, peer: Peer, durability: Durability): Promise<void> {
    try {
      await this.#inBed(peer, durability, async (bed) => {
        const before = await bed.server.survey?.();
        const count = await countFsyncs(bed.server.processes.map(({ pid }) => pid));
        // strace slows them down, so that the full size would only take long.
        const { itemsMade } = await this.#load(scenario, bed, scenario.sizes.small);
        const calls = await count.end();
        const after = await bed.server.survey?.();
        const frames = before === undefined || after === undefined ? {} : { frames: after.frames - before.frames };
        this.#syncs.push({ durability, peer: peer.name, calls, items: itemsMade, ...frames });
        this.#request.report(`fsyncs ${durability} ${peer.name}: ${calls} for ${itemsMade} items`);
      });
    } catch (error) {
      if (this.#isStopped) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      this.#leftOut({ scenario: "fsyncs", durability, peer: peer.name, reason, isFailure: true });
    }
  }

  #processor(peer: Peer, pinned: number): number | "any" {
    return this.#request.placement === "pinned" && peer.placement !== "free" ? pinned : "any";
  }

  /** Serves the peer in a new folder for the time of the action. */
  async #inBed<Result>(peer: Peer, durability: Durability, action: (bed: Served) => Promise<Result>): Promise<Result> {
    const folder = mkdtempSync(join(tmpdir(), "omnirelay-bench-"));
    const from = this.#running.length;
    this.#running.push(async () => rmSync(folder, { recursive: true, force: true }));
    try {
      const home = join(folder, "bed");
      mkdirSync(home);
      // PostgreSQL runs as somebody else, who must be able to pass through.
      for (const each of [folder, home]) chmodSync(each, 0o755);
      const server = await onProcessor(this.#processor(peer, 0), () => peer.serve({ folder: home, durability }));
      this.#running.push(() => server.stop());
      const { summary, docs, worth } = peer;
      this.#peers[peer.name] = { summary, version: server.version, docs: [...docs], worth };
      return await action({ peer, durability, server, folder: home });
    } finally {
      for (const end of this.#running.splice(from).reverse()) await end();
    }
  }

  async #client({ peer, durability, server }: Served, settings: PeerSettings): Promise<RunningClient> {
    const { base, report } = this.#request;
    const request = { kind: "open", peer: peer.name, base, url: server.url, durability, settings } as const;
    const client = await onProcessor(this.#processor(peer, 1), () => RunningClient.open(request, report));
    this.#running.push(() => client.end());
    return client;
  }
}

interface Served {
  readonly peer: Peer;
  readonly durability: Durability;
  readonly server: PeerServer;
  readonly folder: string;
}

const placeOf = ({ name, placement }: Peer) => ({ peer: name, ...(placement === undefined ? {} : { placement }) });

/** Adds to the figures of a life of items what its log says: only where every event of the run is still in it. */
async function withLog(cases: Cases, server: PeerServer, items: number): Promise<Cases> {
  const only = cases[""];
  if (server.survey === undefined || only === undefined || items === 0) return cases;
  const { bytes, frames } = await server.survey();
  const events = items * EVENTS_PER_ITEM;
  const dispatcherMs = only.cpuMs?.["dispatcher"];
  const more = {
    ...only.more,
    eventsPerFrame: round(events / frames),
    // What is left of the log when the goal's allowance for each event is taken off.
    logBytesPerPayloadByte: round((bytes - events * EVENT_BYTES) / (items * PAYLOAD_BYTES)),
    logBytesPerEvent: round(bytes / events),
    ...(dispatcherMs === undefined ? {} : { dispatcherMicrosPerEvent: round(dispatcherMs / EVENTS_PER_ITEM) }),
  };
  return { "": { ...only, more } };
}

const round = (value: number): number => Math.round(value * 100) / 100;
