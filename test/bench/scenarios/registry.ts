/** All scenarios, in the order in which they run. */
import { s1, s2, s3 } from "./s1-s3-enqueue.ts";
import { s4 } from "./s4-drain.ts";
import { s5 } from "./s5-life.ts";
import { s6 } from "./s6-open-loop.ts";
import { s7 } from "./s7-beats.ts";
import { s8 } from "./s8-delays.ts";
import { s9 } from "./s9-depth.ts";
import { s10 } from "./s10-worker-killed.ts";
import { s11 } from "./s11-server-killed.ts";
import { s12 } from "./s12-zombie.ts";
import { s13 } from "./s13-soak.ts";
import { s14 } from "./s14-amount.ts";
import type { Scenario } from "./scenario.ts";

export const SCENARIOS: readonly Scenario[] = [s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14];

export const scenarioNamed = (name: string): Scenario | undefined => SCENARIOS.find((one) => one.name === name);
