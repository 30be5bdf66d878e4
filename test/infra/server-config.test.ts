/** What an embedded nats-server is told in its configuration file. */
import { describe, expect, test } from "vitest";
import { renderServerConfig, type ServerSettings } from "../../infra/nats-server/config.ts";

const SETTINGS: ServerSettings = {
  serverName: "n1",
  host: "127.0.0.1",
  port: 14222,
  storeDir: "/data/mesh",
  portsFolder: "/data/mesh/launch-x",
  syncInterval: "always",
};

describe("the configuration of a server", () => {
  test("of one machine names the store and syncs each append", () => {
    expect(renderServerConfig(SETTINGS)).toBe(
      `server_name: "n1"
host: "127.0.0.1"
port: 14222
ports_file_dir: "/data/mesh/launch-x"
jetstream {
  store_dir: "/data/mesh"
  sync_interval: "always"
}
`,
    );
  });

  test("of a cluster member lists the routes of all", () => {
    const routes = ["nats-route://127.0.0.1:16222", "nats-route://127.0.0.1:16223"];
    const text = renderServerConfig({ ...SETTINGS, cluster: { name: "home", port: 16222, routes } });
    expect(text).toContain(
      'cluster {\n  name: "home"\n  listen: "127.0.0.1:16222"\n' +
        '  routes: ["nats-route://127.0.0.1:16222", "nats-route://127.0.0.1:16223"]\n}\n',
    );
  });

  test("of a member that all reach through proxies names no address to anybody", () => {
    const cluster = { name: "home", port: 16222, routes: [], advertises: false };
    expect(renderServerConfig({ ...SETTINGS, cluster })).toContain(
      '  no_advertise: true\n  advertise: "127.0.0.1:1"\n}\n',
    );
  });

  test("takes sizes, monitoring and text of the operator's own", () => {
    const text = renderServerConfig({
      ...SETTINGS,
      maxPayloadBytes: 2_097_152,
      httpPort: 18222,
      extraConfig: "write_deadline: 10s",
    });
    expect(text).toContain("max_payload: 2097152\n");
    expect(text).toContain('http: "127.0.0.1:18222"\n');
    expect(text.endsWith("write_deadline: 10s\n")).toBe(true);
  });

  test("keeps quotes and backslashes of a path inside its string", () => {
    expect(renderServerConfig({ ...SETTINGS, storeDir: '/data/"a"\\b' })).toContain(
      'store_dir: "/data/\\"a\\"\\\\b"\n',
    );
  });

  test.each([
    { syncInterval: "sometimes" },
    { syncInterval: 'always"\nport: 1' },
    { serverName: "two words" },
    { storeDir: "/data/\nport: 1" },
  ])("is not written for %o", (wrong) => {
    expect(() => renderServerConfig({ ...SETTINGS, ...wrong })).toThrow();
  });

  test.each(["always", "2m", "100ms", "1m30s"])("takes the sync interval %s", (syncInterval) => {
    expect(renderServerConfig({ ...SETTINGS, syncInterval })).toContain(`sync_interval: "${syncInterval}"`);
  });
});
