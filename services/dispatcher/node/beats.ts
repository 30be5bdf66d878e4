/** The leader's beat on the wire. A beat is a hint: a wrong one costs a term, never data. */
import { Beat } from "../../../contracts/replies.ts";

export interface BeatView {
  readonly logId: string;
  readonly term: number;
  readonly leader: string;
  readonly sequence: number;
  readonly streamSequence: number;
  /** Tells two processes with one peer id apart. */
  readonly incarnation: string;
  readonly state: "leading" | "stopping";
}

export function encodeBeat(beat: BeatView): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(beat));
}

/** The beat in a message; undefined for anything else, which anybody may have published. */
export function decodeBeat(payload: Uint8Array): BeatView | undefined {
  try {
    const parsed = Beat.safeParse(JSON.parse(new TextDecoder().decode(payload)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
