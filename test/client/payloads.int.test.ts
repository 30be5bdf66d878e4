/** Typed payloads over a real server: what fits is completed, what does not is a dead letter at its first attempt. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { definePayloads, payload } from "../../services/client/mod.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";
import { clientWorld, eventually, startWorker } from "./client-world.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("a payload that does not fit goes to the dead letters with its reason, and the handler never sees it", async ({
  onTestFinished,
}) => {
  const { url } = await natsServer({ cleanup: onTestFinished });
  const { client, shard } = await clientWorld({ url, cleanup: onTestFinished });
  const payloads = definePayloads({
    mail: payload(z.object({ to: z.string() }), { version: 2, upcasts: { 1: (to) => ({ to }) } }),
  });
  const seen: string[] = [];
  const { told } = startWorker(client, onTestFinished, {
    ...payloads.handlers({ mail: async ({ to }) => void seen.push(to) }),
  });
  const bad = payloads.enqueue(client, { resourceType: "mail", resourceId: "bad", payload: { to: 1 as never } });
  await expect(bad).rejects.toMatchObject({ code: "payload_invalid" });
  expect(shard.of("enqueue")).toEqual([]);
  await payloads.enqueue(client, { resourceType: "mail", resourceId: "new", payload: { to: "new" } });
  await client.enqueue({ resourceType: "mail", resourceId: "old", body: '"old"' });
  await client.enqueue({ resourceType: "mail", resourceId: "wrong", body: "[]" });
  await eventually(() => told).toContain("failed wrong deadLettered");
  await eventually(() => told).toContain("completed old");
  expect(seen).toEqual(["new", "old"]);
  const { items } = await client.list({ status: "deadLettered" });
  expect(items).toMatchObject([
    {
      attempt: 1,
      deadLetter: { code: "payload_invalid", reason: expect.stringMatching(/^the payload does not fit: to: /) },
    },
  ]);
});
