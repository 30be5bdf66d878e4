/** Reads a reply by the contract: the usual one by hand, any other by its schema. Separate because single calls and batches share it. */
import { isPlainReply } from "../../contracts/plain-replies.ts";
import { REPLIES, type ReplyOf } from "../../contracts/replies.ts";
import type { Verb } from "../../contracts/subjects.ts";

/** The reply as its verb has it; undefined when it is none. */
export function replyOf<V extends Verb>(verb: V, reply: Readonly<Record<string, unknown>>): ReplyOf<V> | undefined {
  if (isPlainReply(verb, reply)) return reply as ReplyOf<V>;
  const parsed = REPLIES[verb].safeParse(reply);
  return parsed.success ? (parsed.data as ReplyOf<V>) : undefined;
}
