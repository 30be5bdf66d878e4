/**
 * Drill: fsync and write come back with an I/O error, in the server that leads the stream or in the dispatcher.
 * Promise: what a failed disk may have taken or not is acknowledged to nobody before it is known; the wedge is told within seconds, with what to do.
 */

import { type DiskCase, failDisks } from "../disk/disk-drill.ts";
import { SYNC_FAILS, WRITE_FAILS } from "../disk/disk-failure.ts";
import type { Drill } from "../drill.ts";

const CASES: readonly DiskCase[] = [SYNC_FAILS, WRITE_FAILS].flatMap((failure) => [
  { failure, owner: "server", replicas: 1 },
  { failure, owner: "server", replicas: 3 },
  { failure, owner: "dispatcher", replicas: 1 },
]);

export const fsyncError: Drill = (request) => failDisks(request, CASES);
