/** The Merkle tree against the recursive definitions of RFC 6962, and its proofs against every change of one bit. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isBeginning, isIncluded, MerkleTree } from "../../services/runtime/merkle.ts";

const SIZE_MAX = 300;
const sha256 = (...parts: Uint8Array[]): Buffer => createHash("sha256").update(Buffer.concat(parts)).digest();
const LEAVES = Array.from({ length: SIZE_MAX }, (_, index) => Buffer.from(`frame ${index}`));
const leavesOf = (size: number): readonly Buffer[] => LEAVES.slice(0, size);
const known = new Map<string, Buffer>();

/** MTH of RFC 6962, 2.1, over the leaves from `from` on and before `to`. Each is reckoned once. */
function rootOf(from: number, to: number): Buffer {
  const name = `${from}-${to}`;
  const half = from + halfOf(to - from);
  const root =
    known.get(name) ??
    (to - from === 1
      ? sha256(Uint8Array.of(0), LEAVES[from] as Buffer)
      : sha256(Uint8Array.of(1), rootOf(from, half), rootOf(half, to)));
  known.set(name, root);
  return root;
}

/** The largest power of two below. */
const halfOf = (size: number): number => 2 ** Math.ceil(Math.log2(size) - 1);

/** PATH of RFC 6962, 2.1.1. */
function pathOf(index: number, from: number, to: number): Buffer[] {
  if (to - from === 1) return [];
  const half = from + halfOf(to - from);
  return index < half
    ? [...pathOf(index, from, half), rootOf(half, to)]
    : [...pathOf(index, half, to), rootOf(from, half)];
}

/** SUBPROOF of RFC 6962, 2.1.2. */
function beginningOf(olderTo: number, from: number, to: number, isWhole = true): Buffer[] {
  if (olderTo === to) return isWhole ? [] : [rootOf(from, to)];
  const half = from + halfOf(to - from);
  return olderTo <= half
    ? [...beginningOf(olderTo, from, half, isWhole), rootOf(half, to)]
    : [...beginningOf(olderTo, half, to, false), rootOf(from, half)];
}

const hex = (hashes: readonly Buffer[]): string[] => hashes.map((hash) => hash.toString("hex"));

function inclusion(leaves: readonly Uint8Array[], index: number) {
  const tree = new MerkleTree();
  for (const [at, leaf] of leaves.entries()) tree.add(leaf, at === index);
  return { index, size: tree.size, path: tree.path(), root: tree.root() };
}

function beginning(leaves: readonly Uint8Array[], olderSize: number) {
  const tree = new MerkleTree();
  let olderRoot = "";
  for (const leaf of leaves) {
    tree.add(leaf);
    if (tree.size !== olderSize) continue;
    olderRoot = tree.root();
    tree.markBeginning();
  }
  return { olderSize, olderRoot, size: tree.size, root: tree.root(), path: tree.path() };
}

/** The text of hex digits with one bit of what they mean flipped. */
function flipped(text: string, bit: number): string {
  const bytes = Buffer.from(text, "hex");
  const at = (bit >> 3) % bytes.length;
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
  return bytes.toString("hex");
}

test("the root over nothing is the hash of nothing, and over one leaf the leaf's", () => {
  expect(new MerkleTree().root()).toBe(sha256().toString("hex"));
  const tree = new MerkleTree();
  tree.add(Buffer.from(""));
  // From the test vectors of the Certificate Transparency logs.
  expect(tree.root()).toBe("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
});

test("root and path of every size up to 300 are those of the definition, at the edges of the tree", () => {
  for (let size = 1; size <= SIZE_MAX; size += 1) {
    const leaves = leavesOf(size);
    const root = rootOf(0, size).toString("hex");
    for (const index of new Set([0, size >> 1, size - 1])) {
      const proof = inclusion(leaves, index);
      expect([size, index, proof.root, proof.path]).toEqual([size, index, root, hex(pathOf(index, 0, size))]);
      expect(isIncluded(leaves[index] as Buffer, proof)).toBe(true);
    }
  }
});

const anyLeaf = fc
  .integer({ min: 1, max: SIZE_MAX })
  .chain((size) => fc.tuple(fc.constant(size), fc.integer({ min: 0, max: size - 1 })));

test("every leaf is proven, and no changed bit of leaf, path or root, nor another index, is", () => {
  fc.assert(
    fc.property(anyLeaf, fc.nat(), fc.nat(), ([size, index], bit, other) => {
      const leaves = leavesOf(size);
      const proof = inclusion(leaves, index);
      const leaf = leaves[index] as Buffer;
      expect(isIncluded(leaf, proof)).toBe(true);
      expect(isIncluded(Buffer.from(flipped(leaf.toString("hex"), bit), "hex"), proof)).toBe(false);
      expect(isIncluded(leaf, { ...proof, root: flipped(proof.root, bit) })).toBe(false);
      for (const [at, hash] of proof.path.entries())
        expect(isIncluded(leaf, { ...proof, path: proof.path.with(at, flipped(hash, bit)) })).toBe(false);
      expect(isIncluded(leaf, { ...proof, path: proof.path.slice(1) })).toBe(size === 1);
      expect(isIncluded(leaf, { ...proof, path: [...proof.path, proof.root] })).toBe(false);
      for (let power = 0; power < 10; power += 1)
        expect(isIncluded(leaf, { ...proof, index: index ^ (1 << power) })).toBe(false);
      if (other % size !== index) expect(isIncluded(leaf, { ...proof, index: other % size })).toBe(false);
      for (const wrong of [-1, size, Number.NaN]) expect(isIncluded(leaf, { ...proof, index: wrong })).toBe(false);
    }),
  );
});

test("a node does not pass for a leaf", () => {
  const leaves = leavesOf(2);
  const node = Buffer.concat([Uint8Array.of(1), ...leaves.map((leaf) => sha256(Uint8Array.of(0), leaf))]);
  const root = rootOf(0, 2).toString("hex");
  expect(isIncluded(node.subarray(1), { index: 0, size: 1, path: [], root })).toBe(false);
  expect(isIncluded(node, { index: 0, size: 1, path: [], root })).toBe(false);
});

const anyBeginning = fc
  .integer({ min: 1, max: SIZE_MAX })
  .chain((size) => fc.tuple(fc.constant(size), fc.integer({ min: 1, max: size })));

test("every beginning is proven as the definition does it, and no changed bit of roots, path or size is", () => {
  fc.assert(
    fc.property(anyBeginning, fc.nat(), ([size, olderSize], bit) => {
      const leaves = leavesOf(size);
      const proof = beginning(leaves, olderSize);
      expect([proof.olderRoot, proof.path]).toEqual([
        rootOf(0, olderSize).toString("hex"),
        hex(beginningOf(olderSize, 0, size)),
      ]);
      expect(isBeginning(proof)).toBe(true);
      expect(isBeginning({ ...proof, olderRoot: flipped(proof.olderRoot, bit) })).toBe(false);
      expect(isBeginning({ ...proof, root: flipped(proof.root, bit) })).toBe(false);
      for (const [at, hash] of proof.path.entries())
        expect(isBeginning({ ...proof, path: proof.path.with(at, flipped(hash, bit)) })).toBe(false);
      expect(isBeginning({ ...proof, path: [...proof.path, proof.root] })).toBe(false);
      for (const wrong of [0, size + 1, Number.NaN]) expect(isBeginning({ ...proof, olderSize: wrong })).toBe(false);
    }),
  );
});

test("a tree whose beginning was rewritten proves no older root", () => {
  const older = beginning(leavesOf(7), 7);
  const rewritten = beginning(leavesOf(20).with(3, Buffer.from("another frame")), 7);
  expect(isBeginning({ ...rewritten, olderRoot: older.root })).toBe(false);
});
