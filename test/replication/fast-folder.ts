/** Where tests of files put them whose subject is not what a disk does: in memory, where there is such a place, a sync costs nothing. */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";

const MEMORY_FOLDER = "/dev/shm";

export const FAST_FOLDER: string = existsSync(MEMORY_FOLDER) ? MEMORY_FOLDER : tmpdir();
