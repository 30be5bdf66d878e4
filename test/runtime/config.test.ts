/** Checks the layered settings: which layer wins, that every problem is told at once with its place, and that no secret is shown. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { loadSettings } from "../../services/runtime/config.ts";
import { ConfigError } from "../../services/runtime/config-error.ts";
import {
  CONTROL_PLANE_SETTINGS,
  DISPATCHER_SETTINGS,
  MESH_SETTINGS,
  PROCESS_SETTINGS,
  SEEDER_SETTINGS,
} from "../../services/runtime/process-settings.ts";
import { SETTINGS, settingMeta } from "../../services/runtime/settings.ts";
import { helpText, settingsTable } from "../../services/runtime/settings-table.ts";

const folder = mkdtempSync(join(tmpdir(), "omnirelay-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function problemsOf(load: () => unknown): readonly string[] {
  try {
    load();
  } catch (error) {
    if (error instanceof ConfigError)
      return error.problems.map(({ source, message, fix }) => `${source} ${message}: ${fix}`);
    throw error;
  }
  return [];
}

const control = (args: string[], env: Record<string, string> = {}) =>
  loadSettings(CONTROL_PLANE_SETTINGS, { args, env });
const mesh = (args: string[], env: Record<string, string> = {}) => loadSettings(MESH_SETTINGS, { args, env });

describe("layers", () => {
  const toml = () => file("layers.toml", 'httpPort = 1003\nregion = "from-file"\nshards = ["a", "b"]\n');

  test("a flag wins over the environment, that over the file, that over the default", () => {
    const env = { OMNIRELAY_CONFIG: toml(), OMNIRELAY_HTTP_PORT: "1002", OMNIRELAY_SHARDS: "c" };
    const { settings, origins } = control(["--http-port", "1001"], env);
    expect(settings).toMatchObject({ httpPort: 1001, region: "from-file", shards: ["c"], logLevel: "info" });
    expect(origins).toMatchObject({
      httpPort: "--http-port",
      shards: "OMNIRELAY_SHARDS",
      region: `${join(folder, "layers.toml")}: region`,
      logLevel: "default",
    });
  });

  test("--config wins over OMNIRELAY_CONFIG", () => {
    const json = file("other.json", '{"region": "from-json"}');
    expect(control(["--config", json], { OMNIRELAY_CONFIG: toml() }).settings.region).toBe("from-json");
  });

  test("an empty variable is one that is not set", () => {
    expect(control([], { OMNIRELAY_HTTP_PORT: "" }).settings.httpPort).toBe(5158);
  });

  test("settings of another process may stand in what processes share, file and environment", () => {
    const shared = file("shared.toml", 'items = 5\nseed = "x"\n');
    const loaded = control(["--config", shared], { OMNIRELAY_ROLES: "worker" });
    expect(loaded.settings).not.toHaveProperty("items");
  });

  test("every process has a peer id or principal of its own that stays the same", () => {
    const source = { args: [], env: {} };
    expect(loadSettings(DISPATCHER_SETTINGS, source).settings.peerId).toBe("dispatcher");
    expect(loadSettings(SEEDER_SETTINGS, source).settings.principal).toBe("seeder");
    expect(mesh([]).settings.peerId).toBe("mesh");
  });

  test("options of a new shard come as pairs or as a table", () => {
    const source = { args: ["--shard-options", "exclusivity=partition,maxAttempts=3"], env: {} };
    const wanted = { exclusivity: "partition", maxAttempts: 3 };
    expect(loadSettings(DISPATCHER_SETTINGS, source).settings.shardOptions).toEqual(wanted);
    const table = file("options.toml", '[shardOptions]\nexclusivity = "partition"\nmaxAttempts = 3\n');
    expect(loadSettings(DISPATCHER_SETTINGS, { args: ["--config", table], env: {} }).settings.shardOptions).toEqual(
      wanted,
    );
  });

  test("what comes out is frozen to the bottom", () => {
    const { settings } = mesh([]);
    expect(Object.isFrozen(settings)).toBe(true);
    expect(Object.isFrozen(settings.shards)).toBe(true);
    expect(() => Object.assign(settings, { region: "x" })).toThrow(TypeError);
  });

  test("a switch is on by its name, off by --no- or =false", () => {
    expect(mesh(["--exit", "--items", "1"]).settings.exit).toBe(true);
    expect(mesh(["--no-provision"]).settings.provision).toBe(false);
    expect(mesh(["--provision=false"]).settings.provision).toBe(false);
  });
});

describe("problems", () => {
  test("all are told at once, each with its place and its fix", () => {
    const bad = file("bad.toml", 'regoin = "x"\nhttpHost = 5\n');
    const found = problemsOf(() =>
      control(["--http-port", "70000", "--itmes", "3", "--config", bad], {
        OMNIRELAY_SHARD: "a",
        OMNIRELAY_REGION: "Bad Region",
      }),
    );
    expect(found).toEqual([
      "--itmes is no flag: see --help for those that there are",
      `${bad}: regoin is no setting: did you mean region?`,
      "OMNIRELAY_SHARD is no setting: did you mean OMNIRELAY_SHARDS?",
      'OMNIRELAY_REGION is "Bad Region": give lower-case letters and digits joined by single -, at most 32',
      `${bad}: httpHost is 5: give an address or host name of this machine`,
      "--http-port is 70000: give a whole number from 0 to 65535",
    ]);
  });

  test.each([
    ["--items", "1.5", 'is "1.5"'],
    ["--items", "-1", "is -1"],
    ["--items", "0", "is 0"],
    ["--items", "1e3", 'is "1e3"'],
    ["--items", "99999999999999999999", 'is "99999999999999999999"'],
    ["--items", "NaN", 'is "NaN"'],
    ["--http-port", "65536", "is 65536"],
    ["--http-port", "-1", "is -1"],
    ["--replicas", "2", "is 2"],
    ["--nats-url", "http://x", "is no NATS address"],
    ["--nats-url", "nats://h:65536", "is no NATS address"],
    ["--nats-url", "nats://h:4222,nats://h:0", "is no NATS address"],
    ["--peer-id", "a.b", 'is "a.b"'],
    ["--shards", "a,,b", 'is ""'],
    ["--shards", "a,a", "names something twice"],
    ["--sync-interval", "soon", 'is "soon"'],
    ["--sync-interval", "0s", 'is "0s"'],
    ["--sync-interval", "00ms", 'is "00ms"'],
    ["--log-level", "loud", 'is "loud"'],
    ["--roles", "dispatcher,worke", 'is "worke"'],
  ])("refuses %s %s", (flag, value, words) => {
    const [problem, ...others] = problemsOf(() =>
      mesh([`${flag}=${value}`, "--roles=dispatcher,seeder,worker"].slice(0, flag === "--roles" ? 1 : 2)),
    );
    expect(problem).toContain(flag);
    expect(problem).toContain(words);
    expect(problem).toContain(": give ");
    expect(others).toEqual([]);
  });

  test.each([
    [["--exit"], "--exit (true) and items (not given) do not go together"],
    [
      ["--items", "5", "--exit", "--roles", "dispatcher,seeder"],
      'and --roles (["dispatcher","seeder"]) do not go together',
    ],
    [["--json"], "--json (true) and exit (false) do not go together"],
    [["--replicas", "3"], "natsUrl (not given) and --replicas (3) do not go together"],
    [["--nats-url", "nats://h:1", "--sync-interval", "2m"], "--nats-url"],
    [["--roles", "worker"], "give --nats-url, or add the role dispatcher"],
    [["--items", "5", "--items", "6"], '--items is given twice, with "5" and "6"'],
    [["--exit", "--no-exit"], "--exit is given twice"],
    [["--items"], "--items has no value"],
    [["up"], "up is no flag"],
  ])("tells the contradiction in %j", (args, words) => {
    expect(problemsOf(() => mesh(args)).join("\n")).toContain(words);
  });

  test("a flag of another process is told as such", () => {
    expect(problemsOf(() => control(["--items", "5"]))).toEqual([
      "--items is a setting of another process, not of the control-plane: remove it; see --help",
    ]);
  });

  test.each([
    ["broken.toml", "a = = 1", "cannot be read as TOML"],
    ["broken.json", "{", "cannot be read as JSON"],
    ["list.json", "[]", "holds no object"],
    ["settings.yaml", "a: 1", "name it .toml or .json"],
    ["poison.json", '{"__proto__": {"region": "x"}}', "__proto__ is no setting"],
  ])("refuses the file %s", (name, text, words) => {
    expect(problemsOf(() => control(["--config", file(name, text)])).join("\n")).toContain(words);
  });

  test("a file that is not there is told with its path", () => {
    expect(problemsOf(() => control(["--config", join(folder, "none.toml")]))[0]).toContain(
      "none.toml cannot be read: ENOENT",
    );
  });

  test.each([
    ["nats_url", "natsUrl"],
    ["nats-url", "natsUrl"],
    ["NATSURL", "natsUrl"],
    ["shard", "shards"],
  ])("a key %s of a file is taken for %s", (key, name) => {
    const found = problemsOf(() => control(["--config", file("near.json", JSON.stringify({ [key]: "x" }))]));
    expect(found.join("\n")).toContain(`${key} is no setting: did you mean ${name}?`);
  });

  test("an option of a new shard that is misspelt is told with the near one", () => {
    const table = file("near.toml", "[shardOptions]\nmaxAttempt = 3\n");
    const found = problemsOf(() => loadSettings(DISPATCHER_SETTINGS, { args: ["--config", table], env: {} }));
    expect(found.join("\n")).toContain("has no option named maxAttempt: did you mean maxAttempts?");
  });

  test("options of a new shard are checked by the contract's own schema", () => {
    const found = problemsOf(() =>
      loadSettings(DISPATCHER_SETTINGS, {
        args: ["--shard-options", "exclusivity=some,maxAttempts=0,color=red"],
        env: {},
      }),
    );
    expect(found.map((problem) => problem.split(" ")[0])).toEqual([
      "--shard-options.exclusivity",
      "--shard-options.maxAttempts",
      "--shard-options",
    ]);
  });
});

describe("secrets", () => {
  test("credentials in a NATS address are in no effective setting and no message", () => {
    const { settings, effective } = mesh(["--nats-url", "nats://me:s3cret@h:4222,nats://t0ken@h:4223"]);
    expect(settings.natsUrl).toContain("s3cret");
    expect(effective["natsUrl"]).toBe("nats://***@h:4222,nats://***@h:4223");
    expect(problemsOf(() => mesh(["--nats-url", "nats://me:s3cret@h:1/x"])).join()).not.toContain("s3cret");
  });
});

describe("the table of settings", () => {
  test.each(PROCESS_SETTINGS.map((definition) => [definition.process, definition] as const))(
    "of the %s is complete",
    (_name, definition) => {
      const rows = settingsTable(definition);
      expect(rows.length).toBeGreaterThan(5);
      for (const row of rows) {
        expect(row.env).toMatch(/^OMNIRELAY_[A-Z_]+$/);
        expect(row.flag).toMatch(/^--[a-z-]+$/);
        expect(row.description.length).toBeGreaterThan(10);
        expect(row.type).not.toBe("");
        expect(helpText(definition, "x")).toContain(row.flag);
      }
    },
  );

  test("every setting is read by some process and has a description", () => {
    const read = new Set(PROCESS_SETTINGS.flatMap((definition) => settingsTable(definition).map(({ name }) => name)));
    expect(Object.keys(SETTINGS).filter((name) => !read.has(name as keyof typeof SETTINGS))).toEqual([]);
    for (const name of Object.keys(SETTINGS))
      expect(settingMeta(name as keyof typeof SETTINGS).description).toMatch(/\.$/);
  });
});
