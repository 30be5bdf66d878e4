/** What of an item never changes and is its own: long texts for the most part. An item has it as strings, or in the bytes of many items. */

/** Asked with the sequence of the item, for several items may have one. */
export interface FixedPart {
  resourceIdOf(sequence: number): string;
  bodyOf(sequence: number): string | undefined;
  /** The id under which its enqueue was asked for, and the digest of what was asked; both, or neither. */
  requestIdOf(sequence: number): string | undefined;
  digestOf(sequence: number): string | undefined;
  /** Of the body as JSON. */
  bodyBytesOf(sequence: number): number;
  /** Halves of the hash of all fields that never change. */
  highOf(sequence: number): number;
  lowOf(sequence: number): number;
}

/** That of one item, as it is for the time around its enqueue and from its first lease on. */
export class OwnPart implements FixedPart {
  readonly resourceId: string;
  readonly body: string | undefined;
  readonly requestId: string | undefined;
  readonly digest: string | undefined;
  bodyBytes = 0;
  high = 0;
  low = 0;

  constructor(resourceId: string, body: string | undefined, requestId: string | undefined, digest: string | undefined) {
    this.resourceId = resourceId;
    this.body = body;
    this.requestId = requestId;
    this.digest = digest;
  }

  resourceIdOf(): string {
    return this.resourceId;
  }

  bodyOf(): string | undefined {
    return this.body;
  }

  requestIdOf(): string | undefined {
    return this.requestId;
  }

  digestOf(): string | undefined {
    return this.digest;
  }

  bodyBytesOf(): number {
    return this.bodyBytes;
  }

  highOf(): number {
    return this.high;
  }

  lowOf(): number {
    return this.low;
  }
}
