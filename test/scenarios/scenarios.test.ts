/**
 * Runs every test/scenarios/*.txt. Lines are commands, indented lines what came of them: `+` an event, `=` a reply, `!` a refusal.
 * Rewrite them with `vitest run test/scenarios -u`, then read the diff.
 *
 * `<peer> <verb> <request as JSON>` sends a request; `wait <ms>` lets log time pass; `expire <itemId> [age]` ends a lease as the leader
 * does; `turn` lets the leader do what its clock makes it do: end the time of items, tick schedules, end items that will not run; `chance <number below 1>` is
 * what the leader draws from then on, 0 before; `options <JSON>` stands first and seeds the shard; `#` is prose. Log time begins at 1000.
 */
import { globSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { principalOfPeer } from "../../contracts/ids.ts";
import { isVerb } from "../../contracts/subjects.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { endDoomed } from "../../services/core/doomed.ts";
import { parseCommand } from "../../services/core/parse.ts";
import { writeTicks } from "../../services/core/schedule-ticks.ts";
import { buryLapsed } from "../../services/core/term.ts";
import { nextTick } from "../../services/runtime/cron.ts";
import { ShardWorld } from "../core/shard-world.ts";

function run(script: string): string {
  const lines = script.split("\n").filter((line) => !line.startsWith("  "));
  const seed = lines.find((line) => line.startsWith("options "))?.slice("options ".length);
  const world = new ShardWorld(seed === undefined ? {} : { options: JSON.parse(seed) });
  const chance: Chance = { next: 0 };
  const out: string[] = [];
  for (const line of lines) {
    out.push(line);
    if (line !== "" && !line.startsWith("#") && !line.startsWith("options ")) out.push(...step(world, chance, line));
    assertInvariants(world.state);
  }
  expect([...canonicalState(world.fold())]).toEqual([...canonicalState(world.state)]);
  return out.join("\n");
}

const TURN_BYTES = 100_000;

interface Chance {
  next: number;
}

function step(world: ShardWorld, chance: Chance, line: string): string[] {
  const [who = "", verb = "", ...rest] = line.split(" ");
  if (who === "wait") {
    world.at += Number(verb);
    return [];
  }
  if (who === "chance") {
    chance.next = Number(verb);
    return [];
  }
  const random = (): number => chance.next;
  const written = world.frames.length;
  if (who === "turn") turn(world);
  const answer =
    who === "turn"
      ? undefined
      : who === "expire"
        ? expire(world, verb, rest[0], random)
        : send(world, who, verb, rest.join(" "), random);
  const events = world.frames.slice(written).flatMap((frame) => frame.events);
  const happened = events.map((event) => `  + ${JSON.stringify({ ...event, actor: undefined })}`);
  return answer === undefined ? happened : [...happened, answer];
}

/** What a leader does by itself in each of its turns. */
function turn(world: ShardWorld): void {
  world.frame((sink) => {
    buryLapsed(world.state, { at: world.at }, TURN_BYTES, sink);
    endDoomed(world.state, world.at, TURN_BYTES, sink);
    writeTicks(world.state, world.at, TURN_BYTES, nextTick, sink);
  });
}

function expire(world: ShardWorld, itemId: string, reason: string | undefined, random: () => number): string {
  return `  = ${world.expire(itemId, reason === "age" ? "age" : "duration", random) ? "expired" : "no live lease"}`;
}

function send(world: ShardWorld, peerId: string, verb: string, body: string, random: () => number): string {
  if (!isVerb(verb)) throw new Error(`no such verb: ${verb}`);
  const command = parseCommand(verb, new TextEncoder().encode(body));
  if ("verb" in command && command.verb === "handover")
    throw new Error("a scenario has no dispatchers to hand over to");
  const principal = principalOfPeer(peerId);
  const reply = "error" in command ? command : world.sendCommand(command, { principal, peerId, random, nextTick });
  if (reply.error !== undefined) return `  ! ${JSON.stringify(reply.error)}`;
  return `  = ${JSON.stringify(reply)}`;
}

const files = globSync("test/scenarios/*.txt").sort();

test("the scenarios are found", () => expect(files.length).toBeGreaterThan(5));

test.each(files)("%s", async (file) => {
  await expect(run(readFileSync(file, "utf8"))).toMatchFileSnapshot(`${process.cwd()}/${file}`);
});
