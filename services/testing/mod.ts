/** What integrators test against: the ports in memory, and the suites that every implementation of a port must pass. */
export { EventFeed, type FeedOptions, HOSTILE_TEXTS } from "./event-feed.ts";
export { type LogUnderTest, logConformance, type SuiteRunner } from "./log-conformance.ts";
export { type AppendFault, MemoryLog, type MemoryLogOptions } from "./memory-log.ts";
export { type MemoryMessage, type MemoryPublish, MemoryStream, type MemoryStreamOptions } from "./memory-stream.ts";
export { type DeliveredEvent, type SinkUnderTest, sinkConformance } from "./sink-conformance.ts";
