/** Loaded into a process before its own code (`node --import`): measures it from within when its parent asks over IPC. */
import { Session } from "node:inspector/promises";
import { constants, monitorEventLoopDelay, PerformanceObserver, performance } from "node:perf_hooks";
import type { ProbeAnswer, ProbeQuestion } from "./summary.ts";

/** Time between two samples of the CPU profile. µs. */
const CPU_SAMPLE_US = 500;
/** Bytes between two samples of the heap profile, on average. */
const HEAP_SAMPLE_BYTES = 16_384;
const DELAY_RESOLUTION_MS = 5;

const session = new Session();
session.connect();
const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
let busy = performance.eventLoopUtilization();
let gc = { minorMs: 0, majorMs: 0, count: 0, longestMs: 0 };
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { duration } = entry;
    const { detail } = entry as typeof entry & { readonly detail: { readonly kind: number } };
    if (detail.kind === constants.NODE_PERFORMANCE_GC_MINOR) gc.minorMs += duration;
    else gc.majorMs += duration;
    gc.count += 1;
    gc.longestMs = Math.max(gc.longestMs, duration);
  }
});

async function begin(what: ProbeQuestion["what"]): Promise<void> {
  if (what === "figures") {
    gc = { minorMs: 0, majorMs: 0, count: 0, longestMs: 0 };
    observer.observe({ entryTypes: ["gc"] });
    delay.enable();
    busy = performance.eventLoopUtilization();
    delay.reset();
  } else if (what === "cpu") {
    await session.post("Profiler.enable");
    await session.post("Profiler.setSamplingInterval", { interval: CPU_SAMPLE_US });
    await session.post("Profiler.start");
  } else {
    await session.post("HeapProfiler.enable");
    const all = { includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true };
    await session.post("HeapProfiler.startSampling", { samplingInterval: HEAP_SAMPLE_BYTES, ...all });
  }
}

async function end(what: ProbeQuestion["what"]): Promise<ProbeAnswer> {
  if (what === "cpu") return { cpu: (await session.post("Profiler.stop")).profile };
  if (what === "heap") return { heap: (await session.post("HeapProfiler.stopSampling")).profile };
  const { utilization } = performance.eventLoopUtilization(busy);
  // The observer hears of a collection a turn later.
  await new Promise((resolve) => setImmediate(resolve));
  observer.disconnect();
  delay.disable();
  const ms = (ns: number): number => Math.max(0, ns / 1e6 - DELAY_RESOLUTION_MS);
  return {
    gc,
    busyShare: utilization,
    delayMs: { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max) },
  };
}

process.on("message", (question: Partial<ProbeQuestion>) => {
  if (question.probe === undefined || question.what === undefined) return;
  const answered = question.probe === "begin" ? begin(question.what) : end(question.what);
  void answered.then((answer) => process.send?.({ probed: answer ?? {} }));
});
// The process ends as it would without us.
process.channel?.unref();
