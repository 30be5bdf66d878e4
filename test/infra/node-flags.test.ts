/** Whoever starts a dispatcher starts it as the product says. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DISPATCHER_NODE_FLAGS } from "../../services/runtime/node-flags.ts";

const read = (name: string): string => readFileSync(join(import.meta.dirname, "../..", name), "utf8");

test("npm start and the containers start dispatchers with the flags of the product", () => {
  const flags = DISPATCHER_NODE_FLAGS.join(" ");
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  expect(scripts["start"]).toBe(`exec node ${flags} services/mesh/main.ts`);
  const words = [...DISPATCHER_NODE_FLAGS, "services/dispatcher/main.ts"].map((word) => `"${word}"`).join(", ");
  expect(read("docker-compose.yml")).toContain(`command: [${words}]`);
});
