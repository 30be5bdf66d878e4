/** Checks the log lines: one JSON object per event, no secret in any, and no way for data to look like another line. */
import { expect, test } from "vitest";
import { createLogger, type LogLevel } from "../../services/runtime/logger.ts";
import { redactText } from "../../services/runtime/redact.ts";

function capture(level: LogLevel = "info") {
  const lines: string[] = [];
  const logger = createLogger({
    process: "test",
    peerId: "test--a",
    level,
    to: { write: (line) => void lines.push(line) },
  });
  return { logger, lines, parsed: () => lines.map((line) => JSON.parse(line)) };
}

test("a line has level, time, process, peer, event and fields", () => {
  const { logger, parsed } = capture();
  logger.info("ready", { role: "worker" });
  expect(parsed()).toEqual([
    {
      level: "info",
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      process: "test",
      peerId: "test--a",
      msg: "ready",
      role: "worker",
    },
  ]);
});

test("text from outside stays inside its field", () => {
  const { logger, lines, parsed } = capture();
  logger.warn("refused", { reason: 'x"}\n{"level":"info","msg":"ready"}' });
  expect(lines).toHaveLength(1);
  expect(lines[0]?.trimEnd()).not.toContain("\n");
  expect(parsed()[0].msg).toBe("refused");
});

test("a field cannot take the place of the event, the level or the process", () => {
  const { logger, lines, parsed } = capture();
  logger.child({ process: "other" }).info("refused", { msg: "ready", level: "error", __proto__: { a: 1 } });
  expect(parsed()[0]).toMatchObject({
    msg: "refused",
    level: "info",
    process: "test",
    _msg: "ready",
    _level: "error",
    _process: "other",
  });
  expect(lines[0]?.match(/"msg"/g)).toHaveLength(1);
});

test("secrets are masked at any depth, fencing tokens are not", () => {
  const { logger, lines, parsed } = capture();
  logger.info("starting", {
    settings: { natsUrl: "nats://me:pw1@h", password: "pw2", nested: [{ authorization: "Bearer pw3pw3pw3" }] },
    error: new Error("cannot reach nats://me:pw4@h", { cause: new Error("token nats://pw5@h") }),
    token: 17,
    apiKey: "pw6",
  });
  expect(lines[0]).not.toMatch(/pw\d/);
  expect(parsed()[0].token).toBe(17);
});

test("errors keep name, code, stack and cause; cycles and long texts end", () => {
  const { logger, parsed } = capture();
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  logger.error("failed", {
    error: Object.assign(new TypeError("boom"), { code: "E1" }),
    circle,
    long: "x".repeat(10_000),
    big: 2n ** 70n,
    bytes: new Uint8Array(3),
  });
  const [line] = parsed();
  expect(line.error).toMatchObject({
    name: "TypeError",
    message: "boom",
    code: "E1",
    stack: expect.stringContaining("logger.test.ts"),
  });
  expect(line.long.length).toBeLessThan(5_000);
  expect(line.big).toBe("1180591620717411303424");
  expect(line.bytes).toBe("[3 bytes]");
});

test("what is below the level is not written", () => {
  const { logger, lines } = capture("warn");
  logger.info("quiet");
  logger.debug("quieter");
  logger.error("loud");
  expect(lines).toHaveLength(1);
});

test.each([
  ["nats://u:p@h:1", "nats://***@h:1"],
  ["tls://tok@h, nats://h2", "tls://***@h, nats://h2"],
  ["http://h/x?token=abc&a=1", "http://h/x?token=***&a=1"],
  ["Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"],
  ["mail a@b.c", "mail a@b.c"],
])("redacts %s", (text, wanted) => expect(redactText(text)).toBe(wanted));
