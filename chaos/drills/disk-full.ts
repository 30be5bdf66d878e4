/**
 * Drill: a disk fills up under load, that of a NATS server or the dispatcher's own.
 * Promise: nothing acknowledged is lost. One server alone takes no more appends: requests are refused as retryable and the alarm says what to do; of
 * three, another one leads. A dispatcher goes on without its folder, tells it, and recovers by itself once there is room.
 */

import { failDisks } from "../disk/disk-drill.ts";
import { DISK_FULL } from "../disk/disk-failure.ts";
import type { Drill } from "../drill.ts";

export const diskFull: Drill = (request) =>
  failDisks(request, [
    { failure: DISK_FULL, owner: "server", replicas: 1 },
    { failure: DISK_FULL, owner: "server", replicas: 3 },
    { failure: DISK_FULL, owner: "dispatcher", replicas: 1 },
  ]);
