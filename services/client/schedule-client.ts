/** The verbs about schedules, as `LeaseClient.schedules`. */
import type { RequestInput } from "../../contracts/commands.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import { bytes } from "./body.ts";
import type { CallOptions, ClientCore } from "./client-core.ts";
import { asSimpleObject } from "./entries.ts";
import { type ReadOptions, readParts } from "./read-options.ts";

type Spec = RequestInput<"schedule-put">;
/** What `schedules.put` takes. A body of bytes travels as base64, as it does in `enqueue`. */
export interface ScheduleInput extends Pick<Spec, "name" | "cron" | "timeZone" | "catchUp" | "paused"> {
  readonly item: Omit<Spec["item"], "body"> & { readonly body?: string | Uint8Array | undefined };
}
export type SchedulePage = Pick<RequestInput<"schedule-list">, "limit" | "cursor">;
export type ScheduleRecord = ReplyOf<"schedule-list">["schedules"][number];

export class ScheduleClient {
  readonly #core: ClientCore;

  constructor(core: ClientCore) {
    this.#core = core;
  }

  /**
   * Puts a schedule, in the place of the one of its name. The same again changes nothing (`duplicate`). Where only its item or its catching up changes, it
   * ticks on; else, and where it was paused, its next tick is counted from now.
   */
  async put({ item, ...spec }: ScheduleInput, options: CallOptions = {}): Promise<ReplyOf<"schedule-put">> {
    const { body, ...rest } = asSimpleObject(item);
    const encoded = body instanceof Uint8Array ? { ...rest, ...bytes(body, rest.payloadEncoding) } : { ...rest, body };
    return (await this.#core.call("schedule-put", { ...spec, item: encoded }, options)).reply;
  }

  /** Items that it has enqueued stay. `deleted` is false when there was none. */
  async delete(name: string, options: CallOptions = {}): Promise<ReplyOf<"schedule-delete">> {
    return (await this.#core.call("schedule-delete", { name }, options)).reply;
  }

  /** One page, by name. */
  async list(page: SchedulePage = {}, options: ReadOptions = {}): Promise<ReplyOf<"schedule-list">> {
    const [fields, call] = readParts(options);
    return (await this.#core.call("schedule-list", { ...fields, ...page }, call)).reply;
  }
}
