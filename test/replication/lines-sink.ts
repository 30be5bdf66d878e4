/** A kind of sink of a third party, as a module of its own: one line for each event, appended to a file. */
import { appendFileSync } from "node:fs";
import { z } from "zod";
import type { Sink, SinkKind } from "../../services/replication/mod.ts";

const Options = z.strictObject({
  file: z.string().describe("Where the lines go."),
  refuses: z.array(z.int()).default([]).describe("Sequences that it refuses."),
});

const linesKind: SinkKind<z.infer<typeof Options>> = {
  kind: "lines",
  summary: "Appends a line for each event to a file.",
  guarantee: "at least once",
  options: Options,
  create: ({ file, refuses }): Sink => ({
    open: async () => undefined,
    apply: async ({ events }) => {
      const bad = events.find(({ sequenceNumber }) => refuses.includes(sequenceNumber));
      if (bad !== undefined) throw new Error(`event ${bad.sequenceNumber} is not wanted here`);
      appendFileSync(file, events.map(({ sequenceNumber }) => `${sequenceNumber}\n`).join(""));
    },
    close: async () => undefined,
  }),
};

export const sinkKinds = [linesKind];
