/** All scenarios, in the order in which they run. */
import { s1, s2, s3 } from "./s1-s3-enqueue.ts";
import { s4 } from "./s4-drain.ts";
import { s5 } from "./s5-life.ts";
import type { Scenario } from "./scenario.ts";

export const SCENARIOS: readonly Scenario[] = [s1, s2, s3, s4, s5];

export const scenarioNamed = (name: string): Scenario | undefined => SCENARIOS.find((one) => one.name === name);
