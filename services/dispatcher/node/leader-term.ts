/** One term of leadership: decides commands in memory, brings them to the log frame by frame, and answers after the ack. */
import type { Command } from "../../../contracts/commands.ts";
import type { ErrorCode } from "../../../contracts/errors.ts";
import { UNDECIDED_BYTES_MAX } from "../../../contracts/limits.ts";
import { isPressed } from "../../core/backpressure.ts";
import { execute } from "../../core/execute.ts";
import { cite, type Outcome } from "../../core/outcome.ts";
import { releaseTerm, writeStateHash } from "../../core/term.ts";
import { TypeMarks } from "../../core/type-marks.ts";
import type { AppendResult } from "./appender.ts";
import { BackpressureSignal } from "./backpressure-signal.ts";
import type { FrameBytes } from "./frame-bytes.ts";
import { turnTimes } from "./item-times.ts";
import type { Flight, LeaderTermOptions, TermEnd, Waiting } from "./leader-term-options.ts";
import { LeaseWatch } from "./lease-watch.ts";
import { OpenFrame } from "./open-frame.ts";
import { answer, entriesOf, type PendingRequest } from "./pending-request.ts";
import { openOutcome, refusal } from "./refusals.ts";
import { RequestQueue } from "./request-queue.ts";
import { WaitingPolls } from "./waiting-polls.ts";

/** A frame without an ack for longer stops deciding, and the lease clock. ms. */
const STALL_MS = 1_000;
/** Bytes that an event of a request without bodies may take. */
const EVENT_BYTES = 300;
/** Room that a frame must have before a waiting poll is served into it. Bytes. */
const POLL_ROOM_BYTES = 64 * 1_024;
/** Time between two empty frames. ms. */
const CONFIRM_EVERY_MS = 10;
/** Requests that wait undecided at most, however small they are. */
const UNDECIDED_MAX = 100_000;
const NO_LONGER = "this dispatcher no longer leads the shard";
/** Verbs after which what was held still may be granted. */
const LETS_GO: ReadonlySet<string> = new Set(["resume", "restore", "discard"]);

/**
 * Invariant: the state is the log's last frame, plus the frame in flight, plus the open frame; no answer leaves before every frame
 * that it was decided on is acknowledged. One frame is in flight at a time.
 */
export class LeaderTerm {
  readonly polls = new WaitingPolls();
  readonly #options: LeaderTermOptions;
  readonly #leases: LeaseWatch;
  readonly #signal: BackpressureSignal;
  readonly #random: () => number;
  readonly #undecided = new RequestQueue();
  #open: OpenFrame | undefined;
  #openAnswers: Waiting[] = [];
  /** Whether the open frame is sent even without events, to confirm that we lead. */
  #isOpenForced = false;
  #flight: Flight | undefined;
  /** Of the last frame whose place in the log is taken: a copy of it that were still sent would be refused. */
  #spareBytes: FrameBytes | undefined;
  #stats: { readonly as: string; readonly outcome: Outcome } | undefined;
  /** When the last empty frame was sent. ms, monotonic. */
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #isConfirmationScheduled = false;
  #isDrainScheduled = false;
  #isStopping = false;
  #isOver = false;
  #appendCount = 0;
  /** Where and when the state's hash was last written. */
  #hashed: { readonly sequence: number; readonly ms: number };
  readonly #incarnation: string;

  constructor(options: LeaderTermOptions) {
    this.#options = options;
    this.#random = () => options.ids.random("retry");
    this.#leases = new LeaseWatch(options.state, options.clock, options.config.tickMs, options.proof, this.#random);
    this.#signal = new BackpressureSignal(options);
    this.#hashed = { sequence: options.state.sequence, ms: options.clock.monotonicMs() };
    this.#incarnation = options.ids.id("term");
    options.state.ready.lanes.shown = new TypeMarks();
  }

  /** Milliseconds that the frame in flight has been without an answer; 0 when none is. */
  unackedMs(): number {
    return this.#flight === undefined ? 0 : this.#options.clock.monotonicMs() - this.#flight.sentMs;
  }

  /** Takes a parsed request. It is answered exactly once, now or later. */
  submit(request: PendingRequest): void {
    if (this.#refuses(request)) return;
    if (this.#undecided.size > 0 || !this.#canDecide(request)) {
      if (this.#undecided.bytes + request.bytes > UNDECIDED_BYTES_MAX || this.#undecided.size >= UNDECIDED_MAX) {
        answer(request, refusal("unavailable", "too many requests wait for the log"));
        return;
      }
      this.#undecided.push(request);
    } else this.#decide(request, true);
    this.#scheduleDrain();
  }

  /** Whether the term takes nothing more; the request is answered then. */
  #refuses(request: PendingRequest<Command>): boolean {
    if (this.#isOver) answer(request, refusal("not_leader", NO_LONGER));
    else if (this.#isStopping) answer(request, refusal("shutting_down", "the dispatcher lets go of the shard"));
    return this.#isOver || this.#isStopping;
  }

  /** Makes sure that a frame is sent, to learn whether we still lead. */
  confirm(): void {
    this.#openFrame();
    this.#isOpenForced = true;
    this.#scheduleDrain();
  }

  /** Writes the state's hash alone, so that a snapshot that is asked for has a sequence of its own. */
  mark(): void {
    if (this.#isStopping || this.#flight !== undefined) return;
    this.#writeHash(this.#openFrame());
    this.#scheduleDrain();
  }

  /** The periodic part: lease clock, expiries, ends of waits and timeouts. */
  tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const isCounting = this.#leases.tick(this.unackedMs() > STALL_MS);
    for (const request of this.polls.takeExpired(nowMs)) this.#endWait(request);
    if (isCounting && !this.#isStopping && this.#leases.mayExpire(this.#undecided))
      this.#leases.expireDue(
        () => this.#openFrame(),
        () => [...(this.#flight?.sealed.frame.events ?? []), ...(this.#open?.events ?? [])],
      );
    if (!this.#isStopping && this.unackedMs() <= STALL_MS)
      turnTimes(this.#options, this.#frameAt(), () => this.#openFrame());
    this.#answerOverdue(nowMs);
    this.#drain();
    // Time alone may end it.
    if (this.#flight === undefined && this.#open === undefined) this.#signal.tell(this.#signal.word(this.#frameAt()));
  }

  /** Ends the term in order: what is decided is brought to the log, then `termReleased`, behind which a `request` for it is answered. */
  release(successor?: string, request?: PendingRequest<Command>): void {
    if (request === undefined ? this.#isStopping : this.#refuses(request)) return;
    this.#isStopping = true;
    const refused = refusal("shutting_down", "the dispatcher lets go of the shard");
    for (const request of this.polls.takeAll()) answer(request, refused);
    for (const request of this.#undecided.takeAll()) answer(request, refused);
    const open = this.#openFrame();
    this.#writeHash(open);
    const askedBy = request && open.actor({ principal: request.principal, peerId: request.peerId });
    releaseTerm(this.#options.state, { successor, askedBy }, open.head, open);
    const reply = { ...cite(this.#options.state), successor };
    if (request !== undefined)
      this.#answerAfter({ request, outcome: { reply, confirm: false, validity: [] }, hasEffect: true });
    this.#drain();
  }

  /** Leaves at once: nothing more is sent to the log, and open outcomes stay unknown. */
  abandon(): void {
    this.#end({ kind: "deposed", dirty: this.#isDirty() }, "unknown_outcome");
  }

  /** The wait of a long poll is over: it hears what there is, unless the log is silent and nothing may be decided. */
  #endWait(request: PendingRequest): void {
    if (this.unackedMs() > STALL_MS) answer(request, refusal("unavailable", "the log did not answer in time"));
    else this.#decide(request, false);
  }

  #openFrame(): OpenFrame {
    if (this.#open !== undefined) return this.#open;
    const { state, reader, config } = this.#options;
    this.#appendCount += 1;
    const { region, shard, peerId: writer } = config;
    const append = `${this.#incarnation}-${this.#appendCount}`;
    const prev = this.#flight === undefined ? reader.tip.chain : this.#flight.sealed.chain;
    const place = { first: state.sequence + 1, at: this.#frameAt(), prev };
    const head = { logId: reader.logId, region, shard, term: state.term, writer, append, ...place };
    this.#open = new OpenFrame(head, this.#spareBytes);
    this.#spareBytes = undefined;
    return this.#open;
  }

  /** Log time of the open frame, or of one that was opened now. ms. */
  #frameAt(): number {
    const { logTime, state } = this.#options;
    return this.#open?.head.at ?? Math.max(logTime.now(), state.at, state.ready.releasedAt);
  }

  #canDecide(request: PendingRequest): boolean {
    if (this.unackedMs() > STALL_MS) return false;
    return this.#open === undefined || this.#open.hasRoomFor(request.bytes + entriesOf(request) * EVENT_BYTES);
  }

  #decide(request: PendingRequest, mayWait: boolean): void {
    if (request.answered || (mayWait && this.polls.join(request))) return;
    const { state } = this.#options;
    const open = this.#openFrame();
    const before = open.events.length;
    const { command } = request;
    const outcome = command.verb === "stats" ? this.#renderedStats(request, open) : this.#execute(request, open);
    const hasEffect = open.events.length > before;
    if (mayWait && outcome.empty === true && command.verb === "lease" && command.request.waitMs > 0) {
      const refused = this.polls.add(request, command.request, request.arrivedMs + command.request.waitMs);
      if (refused !== undefined) answer(request, { error: refused });
      return;
    }
    const { consistent, minSequence } = command.request;
    if (LETS_GO.has(command.verb)) for (const type of this.polls.types()) state.ready.lanes.shown?.add(type);
    const isDoubtful = this.#leases.isDoubtful(outcome.validity);
    if (outcome.confirm || consistent === true || (minSequence ?? 0) > state.sequence || isDoubtful)
      this.#isOpenForced = true;
    this.#answerAfter({ request, outcome, hasEffect });
  }

  #execute({ command, principal, peerId, trace }: PendingRequest, open: OpenFrame): Outcome {
    const { region, shard } = this.#options.config;
    const context = {
      ...{ region, shard, principal, peerId, random: this.#random, nextTick: this.#options.nextTick },
      at: open.head.at,
      now: this.#options.logTime.now(),
      frameBytesLeft: open.bytesLeft,
      trace: trace === "" ? undefined : trace,
      logPressure: this.#options.upkeep.pressure.level,
    };
    return execute(this.#options.state, command, context, open);
  }

  /** Rendered once for each state, however many ask. */
  #renderedStats(request: PendingRequest, open: OpenFrame): Outcome {
    const { state } = this.#options;
    const as = `${state.sequence} ${isPressed(state, open.head.at)}`;
    if (this.#stats?.as !== as) this.#stats = { as, outcome: this.#execute(request, open) };
    return this.#stats.outcome;
  }

  /** Puts the answer behind the newest frame that it depends on. */
  #answerAfter(waiting: Waiting): void {
    const open = this.#open;
    if (open !== undefined && (open.events.length > 0 || this.#isOpenForced)) this.#openAnswers.push(waiting);
    else if (this.#flight !== undefined) (this.#flight.answers as Waiting[]).push(waiting);
    else this.#send(waiting);
  }

  #send({ request, outcome }: Waiting): void {
    if (request.answered) return;
    if (outcome.error !== undefined) {
      answer(request, { error: outcome.error });
      return;
    }
    // The state may have gone on while the answer waited: what it cites counts.
    const { sequence } = outcome.reply as { readonly sequence: number };
    // A repeat counts from its own sending, so each answer tells the time that its own request has waited.
    for (const each of [...request.joined, request]) {
      const { minSequence = 0 } = each.command.request;
      this.#leases.tell(outcome.validity, each.arrivedMs);
      if (sequence >= minSequence) answer(each, { reply: outcome.reply });
      else answer(each, refusal("unavailable", `this was the answer at ${sequence}, not yet at ${minSequence}`));
    }
  }

  #scheduleDrain(): void {
    if (this.#isDrainScheduled) return;
    this.#isDrainScheduled = true;
    this.#options.clock.defer(() => {
      this.#isDrainScheduled = false;
      if (!this.#isOver) this.#drain();
    });
  }

  /** Decides what waits, as far as the open frame has room, and sends it when nothing is in flight. */
  #drain(): void {
    if (this.#isOver) return;
    for (
      let next = this.#undecided.peek();
      next !== undefined && this.#canDecide(next);
      next = this.#undecided.peek()
    ) {
      this.#undecided.shift();
      this.#decide(next, true);
    }
    this.polls.serve(
      this.#options.state,
      () => this.#hasPollRoom(),
      (request) => this.#decide(request, true),
    );
    const open = this.#open;
    if (this.#flight !== undefined || open === undefined) return;
    const isConfirmation = open.events.length === 0;
    if (isConfirmation && this.#isOpenForced && this.#confirmationIsEarly()) return;
    this.#open = undefined;
    if (isConfirmation && !this.#isOpenForced) return;
    this.#sendFrame(open);
  }

  /** Whether an empty frame should wait for others that want one: a flood of refusals must not become a flood of frames. */
  #confirmationIsEarly(): boolean {
    const { clock } = this.#options;
    const waitMs = this.#confirmedMs + CONFIRM_EVERY_MS - clock.monotonicMs();
    if (waitMs > 0) {
      if (!this.#isConfirmationScheduled)
        clock.setTimer(waitMs, () => {
          this.#isConfirmationScheduled = false;
          this.#drain();
        });
      this.#isConfirmationScheduled = true;
      return true;
    }
    this.#confirmedMs = clock.monotonicMs();
    return false;
  }

  /** The hash of the state as it is here, by which every follower checks its own. Written beside other events, never alone. */
  #writeHash(open: OpenFrame): void {
    const { state, clock } = this.#options;
    if (open.bytesLeft < EVENT_BYTES) return;
    writeStateHash(state, open.head, open);
    this.#hashed = { sequence: state.sequence, ms: clock.monotonicMs() };
  }

  #isHashDue(): boolean {
    const { state, clock, config } = this.#options;
    const { sequence, ms } = this.#hashed;
    return state.sequence - sequence >= config.stateHashEvents || clock.monotonicMs() - ms >= config.stateHashMs;
  }

  #sendFrame(open: OpenFrame): void {
    const { state, appender, clock, upkeep } = this.#options;
    if (open.events.length > 0 && !this.#isStopping && this.#isHashDue()) this.#writeHash(open);
    const sealed = open.seal(state.pending, state.active);
    const pressure = this.#signal.word(open.head.at);
    const flight: Flight = {
      sealed,
      bytes: open.bytes,
      answers: this.#openAnswers,
      sentMs: clock.monotonicMs(),
      pressure,
    };
    this.#openAnswers = [];
    this.#isOpenForced = false;
    this.#flight = flight;
    const { term, first, at, count } = sealed.frame;
    upkeep.snapshooter?.framed(state, { chain: sealed.chain, term, first, nextSequence: first + count, at });
    appender.append(sealed.payload, sealed.chain, (result) => {
      if (!this.#isOver) this.#resolved(flight, result);
    });
  }

  #resolved(flight: Flight, result: AppendResult): void {
    this.#flight = undefined;
    if (result.kind === "deposed") {
      this.#end({ kind: "deposed", dirty: this.#isDirty() || flight.sealed.frame.count > 0 }, "not_leader", flight);
      return;
    }
    if (result.kind === "halted") {
      this.#end({ ...result, dirty: true }, "unknown_outcome", flight);
      return;
    }
    const { state, reader, upkeep } = this.#options;
    reader.advance(flight.sealed.frame, flight.sealed.chain);
    upkeep.snapshooter?.stored(flight.sealed.chain, this.#options.appender.lastSequence);
    upkeep.pressure.appended(flight.sealed.payload.byteLength);
    this.#spareBytes = flight.bytes;
    state.at = Math.max(state.at, flight.sealed.frame.at);
    this.#leases.proven(flight.sentMs);
    this.#options.proof.acknowledged();
    this.#signal.tell(flight.pressure);
    this.#leases.acknowledged(flight.sealed.frame);
    for (const waiting of flight.answers) this.#send(waiting);
    if (flight.sealed.frame.events.at(-1)?.type === "termReleased") {
      this.#end({ kind: "released" }, "shutting_down");
      return;
    }
    this.#drain();
  }

  #hasPollRoom(): boolean {
    return this.unackedMs() <= STALL_MS && this.#open?.hasRoomFor(POLL_ROOM_BYTES) !== false;
  }

  /** A caller whose time is over hears what is known: not decided, or decided with an outcome that is still open. */
  #answerOverdue(nowMs: number): void {
    for (const request of this.#undecided.takeOverdue(nowMs))
      answer(request, refusal("unavailable", "the log did not answer in time; the request was not decided"));
    if (this.#flight === undefined) return;
    for (const waiting of [...this.#flight.answers, ...this.#openAnswers])
      if (waiting.request.deadlineMs <= nowMs) answer(waiting.request, openOutcome(waiting.hasEffect));
  }

  #isDirty(): boolean {
    return (this.#open?.events.length ?? 0) > 0 || (this.#flight?.sealed.frame.count ?? 0) > 0;
  }

  #end(end: TermEnd, code: ErrorCode, flight?: Flight): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.state.ready.lanes.shown = undefined;
    const lost = [...((flight ?? this.#flight)?.answers ?? []), ...this.#openAnswers];
    for (const waiting of lost) {
      const isUnknown = code === "unknown_outcome" && waiting.hasEffect;
      answer(waiting.request, isUnknown ? openOutcome(waiting.hasEffect) : refusal("not_leader", NO_LONGER));
    }
    const gone = refusal(end.kind === "released" ? "shutting_down" : "not_leader", NO_LONGER);
    for (const request of this.polls.takeAll()) answer(request, gone);
    for (const request of this.#undecided.takeAll()) answer(request, gone);
    this.#options.appender.stop();
    this.#options.onEnd(end);
  }
}
