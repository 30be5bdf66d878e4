/** How Node.js is started for a process with dispatchers in it, wherever this product starts one. */

/**
 * What dies young gets half of the room that it has by default: up to 100 MiB less, and no benchmark of ours is slower for it. `package.json` and
 * `docker-compose.yml` say the same.
 */
export const DISPATCHER_NODE_FLAGS: readonly string[] = ["--max-semi-space-size=16"];
