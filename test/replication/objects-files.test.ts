/** Objects as files: the suite of all sinks. */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "vitest";
import { FilePlace } from "../../services/replication/sinks/objects-files.ts";
import { sinkConformance } from "../../services/testing/mod.ts";
import { placeSuite } from "./objects-place-suite.ts";
import { FOLDER, objectsSubject, temporaryFolder } from "./objects-subject.ts";

sinkConformance({ describe, test }, "ObjectsSink of files", async () => {
  const closers: (() => Promise<void>)[] = [];
  const root = join(
    temporaryFolder((close) => closers.push(close)),
    "root",
  );
  const folder = join(root, FOLDER);
  let torn = 0;
  return objectsSubject(() => new FilePlace(root), {
    tearTail: async () => {
      torn += 1;
      writeFileSync(join(folder, `.00000000000000000099.json.torn-${torn}.partial`), '{"schema":1,"sco');
    },
    interrupt: async () => renameSync(root, `${root}-away`),
    restore: async () => renameSync(`${root}-away`, root),
    close: async () => {
      for (const close of closers) await close();
    },
  });
});

placeSuite({ describe, test }, "a folder", async () => {
  const closers: (() => Promise<void>)[] = [];
  const root = temporaryFolder((close) => closers.push(close));
  return {
    make: () => new FilePlace(root),
    close: async () => {
      for (const close of closers) await close();
    },
  };
});
