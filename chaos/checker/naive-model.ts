/** The rules of the queue, written again without any index: slow, and by another road than the production code. Judges simulated and real logs. */
import type { Actor, EventOf, LogEvent } from "../../contracts/events.ts";
import { actorOf, type Frame } from "../../contracts/frame.ts";
import { SHARD_OPTIONS_DEFAULT, type ShardOptions } from "../../contracts/options.ts";
import { isOfQueue, OF_VERSION_2, type OtherEvent, type QueueEvent } from "./event-kinds.ts";
import { NaiveDrains } from "./naive-drains.ts";
import { isCancelledByFlow, isFlowKnown, naiveFlow } from "./naive-flows.ts";
import { isEnded, type NaiveEnd, type NaiveItem, type NaiveStatus, type NaiveWorld, newItem } from "./naive-item.ts";
import { NaiveItems } from "./naive-items.ts";
import { NaivePressure } from "./naive-pressure.ts";
import { NaiveRecords } from "./naive-records.ts";
import { NaiveSchedules } from "./naive-schedules.ts";
import { EXPIRY, hasTerms, mayEnd } from "./naive-terms.ts";

const TOKEN_STEP = 2 ** 40;

export class NaiveModel extends NaiveItems {
  readonly ends = new Map<number, NaiveEnd>();
  readonly itemOfToken = new Map<number, NaiveItem>();
  isPaused = false;
  readonly drains: NaiveDrains;
  logId = "";
  logVersion = 0;
  term = 0;
  leader = "";
  tokenEpoch = 0;
  readonly pressure = new NaivePressure();
  readonly schedules = new NaiveSchedules((...claim) => this.#must(...claim));
  readonly #world: NaiveWorld;
  readonly #records = new NaiveRecords();
  #lastToken = 0;

  constructor(world: NaiveWorld) {
    super();
    this.#world = world;
    this.drains = new NaiveDrains((isRight, message) => this.#must(isRight, "Q7", message));
  }

  take(frame: Frame): void {
    const isBeginning = frame.events[0]?.type === "termStarted" || frame.events[0]?.type === "logCreated";
    this.#must(isBeginning || frame.writer === this.leader, "L6", `${frame.writer} writes, led by ${this.leader}`);
    for (const event of frame.events) {
      this.sequence += 1;
      this.at = frame.at;
      this.pressure.look(this, this.count("pending"));
      if (isOfQueue(event)) this.#queueEvent(event, actorOf(event, frame));
      else this.#event(event, frame);
      this.pressure.look(this, this.count("pending"));
      this.#world.moved?.();
    }
    this.#must(frame.pending === this.count("pending"), "Q1", `pending ${frame.pending}, not ${this.count("pending")}`);
    this.#must(frame.active === this.count("leased"), "Q1", `active ${frame.active}, not ${this.count("leased")}`);
    this.#must(frame.term === this.term, "L6", `frame of term ${frame.term} in term ${this.term}`);
  }

  #must(isRight: boolean, invariant: string, message: string): void {
    this.#world.checked?.(invariant);
    if (!isRight) this.#world.fail(invariant, `sequence ${this.sequence}: ${message}`);
  }

  #event(event: OtherEvent, frame: Frame): void {
    switch (event.type) {
      case "logCreated":
        this.options = { ...SHARD_OPTIONS_DEFAULT, ...event.options };
        this.shares.setFair(this.options.fairness === "groups");
        this.logId = event.logId;
        this.logVersion = event.logVersion;
        this.tokenEpoch = event.tokenEpoch;
        return;
      case "termStarted":
        this.#must(event.term === this.term + 1, "L6", `term ${event.term} after ${this.term}`);
        this.#must(event.tokenEpoch >= this.tokenEpoch, "F1", `token epoch ${event.tokenEpoch}`);
        this.#must(frame.writer === event.leader, "L6", `${frame.writer} starts a term of ${event.leader}`);
        this.term = event.term;
        this.leader = event.leader;
        this.tokenEpoch = event.tokenEpoch;
        return;
      case "termReleased":
        this.#must(event.leader === this.leader && event.term === this.term, "L6", "a foreign term is released");
        this.leader = "";
        return;
      case "stateHash":
        return;
    }
  }

  #queueEvent(event: QueueEvent, actor: Actor | undefined): void {
    if (OF_VERSION_2.has(event.type))
      this.#must(this.logVersion >= 2, "L4", `${event.type} in a log of version ${this.logVersion}`);
    switch (event.type) {
      case "configured":
        if (event.logVersion !== undefined)
          this.#must(event.logVersion > this.logVersion, "L4", `state version ${event.logVersion} again`);
        this.logVersion = event.logVersion ?? this.logVersion;
        this.options = { ...(this.options as ShardOptions), ...(event.options as Partial<ShardOptions>) };
        this.shares.configure(event.quotas, this.at);
        this.shares.setFair(this.options.fairness === "groups");
        this.#records.forget(this.options);
        return;
      case "paused":
      case "resumed":
        this.#must(this.isPaused !== (event.type === "paused"), "Q7", `${event.type} twice`);
        this.isPaused = event.type === "paused";
        return;
      case "enqueued":
        this.#enqueued(event, actor as Actor);
        return;
      case "leased":
        this.#leased(event, actor as Actor);
        return;
      case "renewed":
        for (const renewal of event.leases) this.#renewed(renewal, actor as Actor);
        return;
      case "completed":
      case "failed":
      case "released":
      case "expired":
        this.#ended(event, actor);
        return;
      case "deadLettered":
        this.#lapsed(event);
        return;
      case "cancelled":
        this.#cancelled(event, actor);
        return;
      case "redriven":
        this.#redriven(event, actor as Actor);
        return;
      case "purged":
        this.#remove(event.itemId, "purged", actor as Actor);
        return;
      case "drained":
        this.drains.begin(event, this);
        return;
      case "restored":
        if (event.entry === undefined) this.drains.restored(event, this);
        else this.#restored(event.entry);
        return;
      case "discarded":
        for (const itemId of event.itemIds) this.#remove(itemId, "discarded", actor as Actor);
        this.drains.discarded(event, this);
        return;
      case "scheduled":
      case "unscheduled":
      case "tickSkipped":
        this.schedules.take(event, actor, this, (key) => this.holderOf(key) !== undefined);
    }
  }

  #enqueued(event: Extract<LogEvent, { type: "enqueued" }>, { principal }: Actor): void {
    const { itemId, item, requestId } = event;
    const options = this.options as ShardOptions;
    this.#must(!this.byId.has(itemId), "Q2", `item ${itemId} twice`);
    this.#must(itemId === (this.tokenEpoch * TOKEN_STEP + this.sequence).toString(36), "Q2", `item id ${itemId}`);
    const isTaken = event.schedule !== undefined || !this.pressure.isPressed;
    this.#must(isTaken, "Q7", "enqueued under backpressure");
    this.schedules.made(event, principal, this.at);
    if (requestId !== undefined) this.#once(principal, requestId);
    this.#mustBeAlone(item.uniqueKey, itemId);
    if (hasTerms(item)) this.#must(this.logVersion >= 2, "L4", `terms in a log of version ${this.logVersion}`);
    const { sequence, at } = this;
    const flow = naiveFlow(item, item.dependsOn, this.byId);
    this.#admit(newItem(item, { itemId, sequence, at, principal, requestId, flow }, options));
  }

  #admit(entry: NaiveItem): void {
    this.#must(isFlowKnown(entry.flow, this.byId), "Q2", `item ${entry.itemId} depends on what never was`);
    this.#records.enqueued(entry);
    this.add(entry);
  }

  /** An item of an export is made anew once, and not beside itself. */
  #restored({ itemId, origin, item, ...past }: NonNullable<EventOf<"restored">["entry"]>): void {
    const { sequence } = this;
    this.#must(itemId === (this.tokenEpoch * TOKEN_STEP + sequence).toString(36), "Q2", `item id ${itemId}`);
    const made = this.#records.restored(origin);
    this.#must(made === undefined, "R1", `${origin.itemId} of ${origin.logId} is there before: ${made?.itemId}`);
    const own = origin.logId === this.logId ? this.byId.get(origin.itemId) : undefined;
    const isRight = origin.logId !== this.logId || own?.status === "discarded";
    this.#must(isRight, "R1", `${origin.itemId} of this log is made anew, it is ${own?.status}`);
    this.#mustBeAlone(item.uniqueKey, itemId);
    const { enqueuedAt: at, enqueuedBy: principal } = past;
    const flow = naiveFlow(item, past.dependencies, this.byId);
    const names = { itemId, sequence, at, principal, requestId: undefined, origin, flow };
    const entry = newItem(item, names, this.options as ShardOptions);
    entry.attempt = past.attempt;
    entry.charged = past.charged;
    for (let count = past.redrives ?? 0; count > 0; count -= 1)
      entry.redrives.push({ principal, sequence, delayMs: 0 });
    if ((past.redrives ?? 0) > 0) entry.notAfter = Number.POSITIVE_INFINITY;
    this.#admit(entry);
  }

  /** R1: one effect per request, unless the shard may have forgotten the earlier one. */
  #once(principal: string, requestId: string): void {
    const known = this.#records.known(principal, requestId, this.#world.isDated(principal, requestId));
    this.#must(known === undefined, "R1", `request ${principal} ${requestId} had an effect before: ${known?.itemId}`);
  }

  /** Whoever has a unique key is the only pending or leased item that has it. */
  #mustBeAlone(uniqueKey: string | undefined, itemId: string): void {
    if (uniqueKey === undefined) return;
    const holder = this.holderOf(uniqueKey);
    this.#must(holder === undefined, "R1", `${itemId} gets the unique key ${uniqueKey}, which ${holder?.itemId} has`);
  }

  #leased(event: Extract<LogEvent, { type: "leased" }>, actor: Actor): void {
    const { at } = this;
    const { itemId, attempt, durationMs, expiresAt } = event;
    const options = this.options as ShardOptions;
    const token = this.tokenEpoch * TOKEN_STEP + this.sequence;
    this.#must(token > this.#lastToken, "F1", `token ${token} after ${this.#lastToken}`);
    this.#lastToken = token;
    const item = this.byId.get(itemId);
    if (item === undefined) {
      this.#must(false, "Q2", `unknown item ${itemId} leased`);
      return;
    }
    this.#must(!this.isPaused, "Q5", "granted while paused");
    this.#must(this.drains.on === undefined, "Q5", `granted while ${this.drains.on?.drainId} drains`);
    const isGone = isEnded(item.status) || item.status === "deadLettered";
    this.#must(!isGone, "Q4", `item ${itemId} granted while ${item.status}`);
    this.#must(item.status !== "leased", "F3", `item ${itemId} granted while its lease ${item.lease?.token} lives`);
    this.#must(item.notBefore <= at, "Q5", `item ${itemId} granted at ${at}, before ${item.notBefore}`);
    this.#must(item.notAfter > at, "Q5", `item ${itemId} granted at ${at}, its time ended at ${item.notAfter}`);
    this.#must(this.isFree(item), "Q5", `item ${itemId} granted although its key holds it back`);
    this.#must(this.hasQuota(item), "Q7", `item ${itemId} granted above its quota`);
    this.#must(attempt === item.attempt + 1, "Q6", `attempt ${attempt} after ${item.attempt}`);
    const wish = actor.requestId === undefined ? undefined : this.#world.wishOf(actor.principal, actor.requestId);
    if (actor.requestId !== undefined) this.#must(wish !== undefined, "R5", `nobody asked for ${actor.requestId}`);
    const first = this.next(actor.requestId === undefined ? [item.resourceType] : wish?.resourceTypes);
    this.#must(first === item, "Q5", `item ${itemId} granted before ${first?.itemId}`);
    const held = this.open.filter(({ lease }) => lease?.peerId === actor.peerId).length;
    this.#must(held < options.leasesPerPeerMax, "Q7", `peer ${actor.peerId} holds ${held} leases`);
    const ownMs = Math.min(item.leaseDurationMs ?? options.leaseDurationMsDefault, options.leaseDurationMsMax);
    if (wish !== undefined)
      this.#must(durationMs === (wish.leaseDurationMs ?? ownMs), "F6", `lasts ${durationMs}, its own is ${ownMs}`);
    this.#must(expiresAt === at + Math.min(durationMs, options.leaseAgeMsMax), "F6", `ends at ${expiresAt}`);
    item.attempt = attempt;
    const { principal, peerId } = actor;
    item.lease = {
      token,
      principal,
      peerId,
      grantedAt: at,
      grantMs: durationMs,
      requestId: actor.requestId,
      expiresAt,
    };
    this.shares.granted(item, at);
    this.itemOfToken.set(token, item);
    this.become(item, "leased");
  }

  #renewed(
    { itemId, token, durationMs, expiresAt, progress }: Extract<LogEvent, { type: "renewed" }>["leases"][number],
    actor: Actor,
  ): void {
    const { at } = this;
    const item = this.byId.get(itemId);
    const lease = item?.lease;
    if (item === undefined || lease?.token !== token) {
      this.#must(false, "F2", `lease ${token} of ${itemId} renewed, it does not live`);
      return;
    }
    this.#must(lease.principal === actor.principal, "F2", `${actor.principal} renews a lease of ${lease.principal}`);
    const latest = lease.grantedAt + (this.options as ShardOptions).leaseAgeMsMax;
    this.#must(expiresAt <= latest, "F6", `lease ${token} renewed beyond its age`);
    this.#must(durationMs === Math.max(1, expiresAt - at), "F6", `lasts ${durationMs}, ends at ${expiresAt}`);
    lease.expiresAt = expiresAt;
    if (progress === undefined) return;
    this.#must(this.logVersion >= 2, "L4", `progress in a log of version ${this.logVersion}`);
    item.progress.push({ sequence: this.sequence, text: progress });
  }

  #ended(
    event: Extract<LogEvent, { type: "completed" | "failed" | "released" | "expired" }>,
    actor: Actor | undefined,
  ): void {
    const { itemId, token, type } = event;
    const item = this.byId.get(itemId);
    const lease = item?.lease;
    if (item === undefined || lease?.token !== token) {
      this.#must(false, "F2", `${type} of lease ${token} of ${itemId}, which does not live`);
      return;
    }
    const reason = event.type === "released" ? event.reason : undefined;
    if (reason !== undefined)
      this.#must(this.logVersion >= 2, "L4", `${reason} in a log of version ${this.logVersion}`);
    if (reason === "drained")
      this.#must(this.drains.on?.leases === "expire" && actor === undefined, "F2", `lease ${token} ended by no drain`);
    if (type !== "expired" && reason === undefined)
      this.#must(lease.principal === actor?.principal, "F2", `${actor?.principal} ends a lease of ${lease.principal}`);
    item.lease = undefined;
    const outcome = ("outcome" in event ? event.outcome : undefined) ?? type;
    this.ends.set(token, {
      type: reason ?? type,
      itemId,
      principal: lease.principal,
      outcome,
      sequence: this.sequence,
    });
    if (event.type === "completed") {
      if (this.logVersion >= 2) item.result = event.result;
      this.#end(item, "completed");
      return;
    }
    const isCancelled = outcome === "cancelled";
    this.#must(
      isCancelled === (item.cancel !== undefined),
      "Q4",
      `${type} of ${itemId}, ${item.cancel?.principal} asked to cancel it: ${outcome}`,
    );
    if (event.type !== "released") this.#failed(item, event);
    else if (!isCancelled) this.become(item, "pending");
    if (isCancelled) this.#end(item, "cancelled");
  }

  #failed(item: NaiveItem, event: Extract<LogEvent, { type: "failed" | "expired" }>): void {
    const { type, token, outcome, notBefore } = event;
    const wishes = type === "expired" ? [EXPIRY] : this.#world.failuresOf(token);
    const isRight = wishes.some((wish) => mayEnd(wish, event, item, this.at, this.options as ShardOptions));
    const counts = `${item.charged} charged of ${item.maxAttempts ?? this.options?.maxAttempts}`;
    this.#must(isRight, "Q6", `${type} at ${this.at}, ${counts}: ${JSON.stringify(event)}`);
    if (type === "expired" || event.charged !== false) item.charged += 1;
    item.notBefore = notBefore ?? item.notBefore;
    if (outcome === "requeued") this.become(item, "pending");
    else if (outcome === "deadLettered") this.#bury(item);
  }

  /** Ends at once what nobody has; whoever has it is asked, once. */
  #cancelled({ itemId, outcome }: Extract<LogEvent, { type: "cancelled" }>, actor: Actor | undefined): void {
    const item = this.byId.get(itemId);
    const { principal } = actor ?? { principal: "" };
    const isAllowed =
      actor !== undefined || (item !== undefined && this.doomed().includes(item) && isCancelledByFlow(item));
    this.#must(isAllowed, "Q4", `${item?.status} ${itemId} cancelled by nobody`);
    const isLeased = item?.status === "leased";
    const isNew = item?.cancel === undefined && isLeased === (outcome === "requested");
    this.#must(isNew, "Q4", `${item?.status} ${itemId} cancelled: ${outcome}`);
    if (item !== undefined && isLeased) item.cancel = { principal, sequence: this.sequence };
    else this.#remove(itemId, "cancelled", { principal });
  }

  /** A dead letter comes back to its place, as if it had not failed and without an end of its time. */
  #redriven({ itemId, notBefore }: Extract<LogEvent, { type: "redriven" }>, { principal }: Actor): void {
    const item = this.byId.get(itemId);
    this.#must(item?.status === "deadLettered", "Q4", `${item?.status} ${itemId} redriven`);
    if (item?.status !== "deadLettered") return;
    this.#must(notBefore === undefined || notBefore > this.at, "Q6", `redriven at ${this.at} to ${notBefore}`);
    this.#mustBeAlone(item.uniqueKey, itemId);
    const delayMs = notBefore === undefined ? 0 : notBefore - this.at;
    item.redrives.push({ principal, sequence: this.sequence, delayMs });
    item.charged = 0;
    item.halts = false;
    item.notBefore = notBefore ?? item.notBefore;
    item.notAfter = Number.POSITIVE_INFINITY;
    if (!this.open.includes(item)) this.open.push(item);
    this.become(item, "pending");
  }

  /** Ends an item that nobody has. */
  #remove(itemId: string, status: "cancelled" | "purged" | "discarded", { principal }: Pick<Actor, "principal">): void {
    const item = this.byId.get(itemId);
    const isMarked = item !== undefined && this.drains.marks(item);
    this.#must(this.mayRemove(item, status, isMarked), "Q4", `${item?.status} ${itemId} is ${status}`);
    if (item === undefined) return;
    item.endedBy = { principal, sequence: this.sequence };
    this.#end(item, status);
  }

  #end(item: NaiveItem, status: NaiveStatus): void {
    item.halts = false;
    this.become(item, status);
    this.#records.ended(item, this.options as ShardOptions);
  }

  #lapsed({ itemId, code }: Extract<LogEvent, { type: "deadLettered" }>): void {
    const item = this.byId.get(itemId);
    if (item === undefined || !this.mayBury(item, code, this.at)) {
      const text = item === undefined ? "unknown" : `${item.status} until ${item.notAfter}`;
      this.#must(false, "Q6", `item ${itemId}, ${text}, is dead-lettered at ${this.at}: ${code}`);
      return;
    }
    this.#bury(item);
  }

  #bury(item: NaiveItem): void {
    item.halts = item.exclusivity === "partition" && this.options?.onDeadLetter === "halt";
    this.become(item, "deadLettered");
  }
}
