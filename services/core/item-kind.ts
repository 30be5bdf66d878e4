/** What many items have in common, kept once for all of them: a million items come from few callers, and name few types, groups and keys. */
import type { ItemPayload } from "../../contracts/commands.ts";
import type { Exclusivity } from "../../contracts/options.ts";
import type { ItemTerms } from "./item.ts";
import { retryText } from "./item-terms.ts";
import type { Lane } from "./lanes.ts";
import { KIND_SPAN_MS, KIND_VARIANTS_MAX, KINDS_MAX } from "./limits.ts";

/** What a payload names of its kind. */
type KindNames = Pick<ItemPayload, "resourceType" | "payloadEncoding" | "maxAttempts" | "group" | "quotaKey">;

export class ItemKind {
  /** Who enqueued it. */
  readonly principal: string;
  /** Fixed at enqueue, so that `configure` never changes what waits for what. */
  readonly exclusivity: Exclusivity;
  readonly resourceType: string;
  readonly payloadEncoding: string | undefined;
  readonly maxAttempts: number | undefined;
  /** As its terms have them. */
  readonly group: string | undefined;
  readonly quotaKey: string | undefined;
  /** The next one of the same principal, resource type, group and quota key. */
  readonly next: ItemKind | undefined;
  /** What the ids of its items count from, beside their sequence: the epoch in which they were enqueued. */
  readonly tokenBase: number;
  /** Log time of the first of its items. ms. */
  readonly since: number;
  /** Where an item of it was shown last; it may be gone. Derived. */
  lane: Lane | undefined = undefined;
  private terms: ItemTerms | undefined = undefined;

  constructor(
    principal: string,
    exclusivity: Exclusivity,
    names: KindNames,
    since: number,
    tokenBase: number,
    next: ItemKind | undefined,
  ) {
    this.principal = principal;
    this.exclusivity = exclusivity;
    this.resourceType = names.resourceType;
    this.payloadEncoding = names.payloadEncoding;
    this.maxAttempts = names.maxAttempts;
    this.group = names.group;
    this.quotaKey = names.quotaKey;
    this.since = since;
    this.tokenBase = tokenBase;
    this.next = next;
  }

  /** A log time that is no further off than `KIND_SPAN_MS`, by how much it is later than `since`: always a 32-bit integer. ms. */
  afterMs(at: number): number {
    return (at - this.since) | 0;
  }

  /** Terms that say the same, which other items of the kind have, or these. */
  share(terms: ItemTerms): ItemTerms {
    if (terms.notAfter !== undefined || terms.uniqueKey !== undefined || terms.schedule !== undefined) return terms;
    const { terms: known } = this;
    if (known !== undefined && isSame(known, terms)) return known;
    this.terms = terms;
    return terms;
  }
}

/** `left` and `right` are of one kind, and name nothing that is an item's own. */
function isSame(left: ItemTerms, right: ItemTerms): boolean {
  if (left.priority !== right.priority || left.boost !== right.boost) return false;
  if (left.leaseDurationMs !== right.leaseDurationMs) return false;
  if (left.retry === undefined || right.retry === undefined) return left.retry === right.retry;
  return retryText(left.retry) === retryText(right.retry);
}

type ByKey = Map<string | undefined, ItemKind>;
type ByType = Map<string, Map<string | undefined, ByKey>>;

/** Bounded, and without meaning: two kinds may say the same. */
export class ItemKinds {
  /** By principal, resource type, group and quota key. */
  private readonly byPrincipal = new Map<string, ByType>();
  private count = 0;
  /** The items of a request have one caller. */
  private lastPrincipal: string | undefined = undefined;
  private lastTypes: ByType = new Map();

  /** `at`: log time of the enqueue, in ms; `tokenBase`: of its epoch. */
  of(principal: string, exclusivity: Exclusivity, names: KindNames, at: number, tokenBase: number): ItemKind {
    const { resourceType, payloadEncoding, maxAttempts, group, quotaKey } = names;
    const first = this.typesOf(principal).get(resourceType)?.get(group)?.get(quotaKey);
    let variants = 0;
    for (let kind = first; kind !== undefined; kind = kind.next) {
      const isOfItem = kind.exclusivity === exclusivity && kind.maxAttempts === maxAttempts;
      const isNear = Math.abs(at - kind.since) < KIND_SPAN_MS && kind.tokenBase === tokenBase;
      if (isOfItem && isNear && kind.payloadEncoding === payloadEncoding) return kind;
      variants += 1;
    }
    const next = variants < KIND_VARIANTS_MAX ? first : undefined;
    return this.make(new ItemKind(principal, exclusivity, names, at, tokenBase, next));
  }

  private typesOf(principal: string): ByType {
    if (principal === this.lastPrincipal) return this.lastTypes;
    let types = this.byPrincipal.get(principal);
    if (types === undefined) {
      types = new Map();
      this.byPrincipal.set(principal, types);
    }
    this.lastPrincipal = principal;
    this.lastTypes = types;
    return types;
  }

  private make(kind: ItemKind): ItemKind {
    this.count += 1;
    if (this.count > KINDS_MAX) {
      this.byPrincipal.clear();
      this.lastPrincipal = undefined;
      this.count = 1;
    }
    const groups = childOf(this.typesOf(kind.principal), kind.resourceType);
    childOf(groups, kind.group).set(kind.quotaKey, kind);
    return kind;
  }
}

function childOf<Key, ChildKey, Value>(maps: Map<Key, Map<ChildKey, Value>>, key: Key): Map<ChildKey, Value> {
  const known = maps.get(key);
  if (known !== undefined) return known;
  const child = new Map<ChildKey, Value>();
  maps.set(key, child);
  return child;
}
