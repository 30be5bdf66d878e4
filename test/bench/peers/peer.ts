/** The port of a peer: what every system that is measured offers to the scenarios, and nothing that only one of them could do. */

/** `D1`: outlives a kill of its server; a loss of power may cost about a second. `D2`: what was acknowledged is on the disk. Never compared with each other. */
export const DURABILITIES = ["D1", "D2"] as const;
export type Durability = (typeof DURABILITIES)[number];

export interface Bed {
  /** An empty folder for everything that the servers keep. */
  readonly folder: string;
  readonly durability: Durability;
}

export interface ServerProcess {
  /** What it is: `nats-server`, `dispatcher`, `redis-server`, `postgres`. */
  readonly name: string;
  readonly pid: number;
}

/** What a log says of itself after a run. */
export interface LogSurvey {
  /** Messages in the log, each with one or more events. */
  readonly frames: number;
  /** What they take in the log. Bytes. */
  readonly bytes: number;
}

/** The running servers of a peer. */
export interface PeerServer {
  readonly url: string;
  /** `Redis 7.0.15` and so on. */
  readonly version: string;
  /** Of the latest start. */
  readonly processes: readonly ServerProcess[];
  /** Ends them, in an orderly way where that takes no more than seconds. Does nothing when they have ended. */
  stop(): Promise<void>;
  /** Kills them all with SIGKILL and starts them again on the same files at the same url; returns when they serve. */
  crash(): Promise<void>;
  survey?(): Promise<LogSurvey>;
}

/** The durations that a peer can be told, made as equal as its settings allow. */
export interface PeerSettings {
  /** After how long the work of a worker that is gone is given to another. ms. Absent: what the peer ships. */
  readonly leaseMs?: number | undefined;
  /** How often a running item is kept alive, where the peer does that. ms. Absent: what the peer ships. */
  readonly beatMs?: number | undefined;
  /** How long a call waits for its answer, where the client does not see by itself that the answer was lost with its server. ms. Absent: what the peer ships, or longer. */
  readonly answerMs?: number | undefined;
}

export interface WorkOptions {
  /** Handlers at once. */
  readonly concurrency: number;
  /** Items are taken and settled one by one: handlers take as long as they like, and none waits for another. */
  readonly isApart?: boolean;
  /** Called with the body of each item, once per delivery. */
  readonly handler: (body: string) => Promise<void> | void;
  /** Called when the peer has confirmed the end of the item; by peers that confirm nothing, when they have been told. */
  readonly settled: (body: string) => void;
  /** Called with what goes wrong while the peer goes on: a settlement that it refuses, a connection that it lost. */
  readonly failed: (error: Error) => void;
}

export interface PeerClient {
  /** One call of the peer: its single call for one body, its bulk call for many. Resolves when they are durable as the class says. Throws what the peer throws. */
  enqueue(bodies: readonly string[]): Promise<void>;
  /** As `enqueue`, each item to be handed out only after its delay. ms. Absent: the peer has no delays. */
  enqueueDelayed?(bodies: readonly string[], delaysMs: readonly number[]): Promise<void>;
  /** Starts a worker, and returns when it is ready to take items. Absent: the peer is no queue. */
  work?(options: WorkOptions): Promise<Working>;
  close(): Promise<void>;
}

export interface Working {
  /** Takes no more items, and returns when those under way are settled. */
  stop(): Promise<void>;
}

/** How a peer is driven when it is to be as fast as it can: in its throughput, its open loop and its soak. */
export interface Drive {
  /** Items per call of `enqueue`. */
  readonly batch: number;
  /** Calls of `enqueue` at once. */
  readonly inFlight: number;
  /** Handlers at once. */
  readonly concurrency: number;
}

/** What a reply is worth to who gets it: not every peer does the same work for an item. */
interface Worth {
  readonly enqueue: string;
  readonly lease: string;
  readonly complete: string;
}

export interface Peer {
  /** Of small letters, digits and dashes: the name of its rows. */
  readonly name: string;
  /** One sentence: which of its ways to be used this row is. */
  readonly summary: string;
  /** Where its makers say how it is set up. */
  readonly docs: readonly string[];
  readonly worth: Worth;
  readonly drive: Drive;
  /** The only scenarios that it is meant for. Absent: all that it is able to run. */
  readonly only?: readonly string[];
  /** Its processes may use every processor, wherever those of the other rows run. */
  readonly placement?: "free";
  /** How many items a worker of one handler takes into its memory before the handler is free for them. Absent: it asks for an item when it starts one. */
  readonly ahead?: number;
  readonly abilities: {
    /** It can hand an item out later. */
    readonly delay: boolean;
    /** A worker keeps its items by beats, and loses them when it stops beating. */
    readonly beat: boolean;
    /** An item of a worker that is gone comes back within a minute when the settings ask for it. */
    readonly recovery: boolean;
    /** It hands out what was enqueued. */
    readonly queue: boolean;
  };
  /** What is missing on this machine, as a sentence that says what to install; undefined when it can run. */
  missing(): Promise<string | undefined>;
  /** Starts its servers. Throws when they do not start; nothing is left running then. */
  serve(bed: Bed): Promise<PeerServer>;
  /** Connects the client library, in whatever process this is called. */
  connect(url: string, durability: Durability, settings: PeerSettings): Promise<PeerClient>;
}
