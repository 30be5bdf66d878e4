/**
 * The Merkle tree of RFC 6962: one root over any number of leaves, and short proofs of what is below it. Leaves are hashed with a zero byte in
 * front, nodes with a one, so that no node can pass for a leaf.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const LEAF_PREFIX = Uint8Array.of(0);
const NODE_PREFIX = Uint8Array.of(1);

/** A full subtree: of 1, 2, 4, … leaves. */
interface Peak {
  readonly hash: Buffer;
  readonly leaves: number;
  readonly isMarked: boolean;
}

/**
 * Takes leaves in order and keeps one hash for each power of two in their number. One subtree may be marked: its path to the root is
 * gathered while the tree grows.
 * Invariant: `#peaks` are the full subtrees from left to right, each larger than the one behind it.
 */
export class MerkleTree {
  readonly #peaks: Peak[] = [];
  readonly #path: Buffer[] = [];
  #size = 0;
  #isMarked = false;
  /** Leaves of the marked beginning; 0 when there is none. */
  #beginning = 0;

  /** Leaves. */
  get size(): number {
    return this.#size;
  }

  /** Adds a leaf; with `isMarked` as the one to be proven. */
  add(data: Uint8Array, isMarked = false): void {
    if (isMarked) this.#takeMark();
    let peak: Peak = { hash: leafHash(data), leaves: 1, isMarked };
    while (this.#peaks.at(-1)?.leaves === peak.leaves) peak = joined(this.#peaks.pop() as Peak, peak, this.#path);
    this.#peaks.push(peak);
    this.#size += 1;
  }

  /** Marks the newest full subtree: what is proven is then that the leaves so far are the beginning of the leaves in the end. */
  markBeginning(): void {
    const last = this.#peaks.pop();
    assert(last !== undefined);
    this.#takeMark();
    this.#peaks.push({ ...last, isMarked: true });
    this.#beginning = this.#size;
    // Of a beginning that is one full subtree the verifier knows the hash: it is the older root.
    if (this.#peaks.length > 1) this.#path.push(last.hash);
  }

  /** The root as 64 hex digits; without leaves the hash of nothing. */
  root(): string {
    return this.#fold([]).toString("hex");
  }

  /** The hashes beside the way from what is marked to the root, from below; none when the beginning is the whole. */
  path(): readonly string[] {
    if (this.#beginning === this.#size) return [];
    const path = [...this.#path];
    this.#fold(path);
    return path.map((hash) => hash.toString("hex"));
  }

  #takeMark(): void {
    assert(!this.#isMarked);
    this.#isMarked = true;
  }

  #fold(path: Buffer[]): Buffer {
    const top = this.#peaks.reduceRight<Peak | undefined>(
      (right, left) => (right === undefined ? left : joined(left, right, path)),
      undefined,
    );
    return top?.hash ?? createHash("sha256").digest();
  }
}

function joined(left: Peak, right: Peak, path: Buffer[]): Peak {
  if (left.isMarked) path.push(right.hash);
  else if (right.isMarked) path.push(left.hash);
  return {
    hash: nodeHash(left.hash, right.hash),
    leaves: left.leaves + right.leaves,
    isMarked: left.isMarked || right.isMarked,
  };
}

const leafHash = (data: Uint8Array): Buffer => createHash("sha256").update(LEAF_PREFIX).update(data).digest();
const nodeHash = (left: Uint8Array, right: Uint8Array): Buffer =>
  createHash("sha256").update(NODE_PREFIX).update(left).update(right).digest();

export interface InclusionProof {
  readonly index: number;
  /** Leaves of the tree. */
  readonly size: number;
  readonly path: readonly string[];
  readonly root: string;
}

/** Whether the leaf stands at its index below the root. Source: RFC 9162, 2.1.3.2. */
export function isIncluded(data: Uint8Array, { index, size, path, root }: InclusionProof): boolean {
  if (!(index >= 0 && index < size)) return false;
  const way = new Way(index, size - 1);
  let hash = leafHash(data);
  for (const hex of path) {
    if (way.isAtTop) return false;
    const beside = Buffer.from(hex, "hex");
    hash = way.isRight ? nodeHash(beside, hash) : nodeHash(hash, beside);
    way.up();
  }
  return way.isAtTop && hash.toString("hex") === root;
}

export interface BeginningProof {
  readonly olderSize: number;
  readonly olderRoot: string;
  readonly size: number;
  readonly root: string;
  readonly path: readonly string[];
}

/** Whether the leaves of the older tree are the first ones of the newer. Source: RFC 9162, 2.1.4.2. */
export function isBeginning({ olderSize, olderRoot, size, root, path }: BeginningProof): boolean {
  if (!(olderSize >= 1 && olderSize <= size)) return false;
  if (olderSize === size) return path.length === 0 && olderRoot === root;
  const hashes = (isPowerOfTwo(olderSize) ? [olderRoot, ...path] : path).map((hex) => Buffer.from(hex, "hex"));
  const [start, ...rest] = hashes;
  if (start === undefined) return false;
  const way = new Way(olderSize - 1, size - 1);
  way.upToLeft();
  let older: Buffer = start;
  let newer: Buffer = start;
  for (const beside of rest) {
    if (way.isAtTop) return false;
    if (way.isRight) {
      older = nodeHash(beside, older);
      newer = nodeHash(beside, newer);
    } else newer = nodeHash(newer, beside);
    way.up();
  }
  return way.isAtTop && older.toString("hex") === olderRoot && newer.toString("hex") === root;
}

function isPowerOfTwo(value: number): boolean {
  let rest = value;
  while (rest % 2 === 0) rest /= 2;
  return rest === 1;
}

/** The way from a leaf up to the root, beside the way of the last leaf: where both meet at the right edge, subtrees are not full. */
class Way {
  #node: number;
  #last: number;

  constructor(node: number, last: number) {
    this.#node = node;
    this.#last = last;
  }

  get isAtTop(): boolean {
    return this.#last === 0;
  }

  /** Whether what stands beside the next step is on the left. */
  get isRight(): boolean {
    return this.#node % 2 === 1 || this.#node === this.#last;
  }

  up(): void {
    // At the right edge a node without a sibling moves up as it is.
    if (this.isRight) while (this.#node % 2 === 0 && this.#node !== 0) this.#step();
    this.#step();
  }

  /** Up to the full subtree that ends here. */
  upToLeft(): void {
    while (this.#node % 2 === 1) this.#step();
  }

  #step(): void {
    this.#node = Math.floor(this.#node / 2);
    this.#last = Math.floor(this.#last / 2);
  }
}
