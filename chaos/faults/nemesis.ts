/** Carries out a plan of faults against a running mesh, and writes down of each what shows that it was there. */

import { pause, randomFrom } from "../drill.ts";
import type { Mesh } from "../driver/mesh.ts";
import type { FaultRecord } from "../operations.ts";
import type { LineFile } from "../recorder.ts";
import type { PlannedFault } from "./fault.ts";
import { faultKind } from "./kinds.ts";

export interface NemesisRequest {
  readonly mesh: Mesh;
  readonly plan: readonly PlannedFault[];
  readonly seed: number;
  /** What `atMs` counts from. `performance.now()`. */
  readonly startMs: number;
  readonly log: LineFile;
  readonly report: (line: string) => void;
}

/** Between the end of a fault and the next of its area, however late it is: or their write gaps would be one. ms. */
const REST_MS_MIN = 1_000;

/** Resolves when the last fault has ended. A fault that cannot be applied is told by its record, never thrown. */
export async function runFaults(request: NemesisRequest): Promise<readonly FaultRecord[]> {
  const areas = [...Map.groupBy(request.plan, ({ kind }) => faultKind(kind).area).values()];
  const records = await Promise.all(
    areas.map(async (faults) => {
      const own: FaultRecord[] = [];
      // What the last one left may take longer to heal than was planned: the next of its area waits.
      for (const fault of faults) {
        own.push(await runFault(request, fault));
        await pause(REST_MS_MIN);
      }
      return own;
    }),
  );
  return records.flat();
}

async function runFault(request: NemesisRequest, fault: PlannedFault): Promise<FaultRecord> {
  const { mesh, startMs, log, report, seed } = request;
  await until(startMs + fault.atMs);
  const startedNs = String(process.hrtime.bigint());
  let target = fault.target;
  let outcome: Pick<FaultRecord, "struckNs" | "applied" | "evidence">;
  try {
    const strike = await faultKind(fault.kind).strike(mesh, fault, randomFrom(seed + fault.atMs));
    const struckNs = String(process.hrtime.bigint());
    target = strike.target;
    await pause(fault.durationMs);
    outcome = { struckNs, ...(await strike.end()) };
  } catch (error) {
    outcome = { applied: false, evidence: { error: error instanceof Error ? error.message : String(error) } };
  }
  const { kind, durationMs, params } = fault;
  const endedNs = String(process.hrtime.bigint());
  const planned = { ...params, role: fault.target, durationMs };
  const record: FaultRecord = { kind, target, startedNs, endedNs, params: planned, ...outcome };
  log.write(record);
  report(
    `${kind} of ${target} for ${durationMs} ms: ${outcome.applied ? "applied" : "NOT APPLIED"} ${JSON.stringify(outcome.evidence)}`,
  );
  return record;
}

async function until(ms: number): Promise<void> {
  await pause(Math.max(0, ms - performance.now()));
}
