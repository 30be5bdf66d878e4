/**
 * Refuses to run under a Node that is too old. Every entry point imports it first and for this effect: modules run in order of
 * import, so that nothing native is loaded before the check (better-sqlite3 crashes an older Node without a word).
 */
const NODE_MAJOR_MIN = 24;
const major = Number.parseInt(process.versions.node, 10);

if (!(major >= NODE_MAJOR_MIN)) {
  process.stderr.write(
    `omnirelay needs Node ${NODE_MAJOR_MIN} or newer; this is ${process.version} at ${process.execPath}. ` +
      "Start it by an npm script, or put node_modules/.bin first in PATH: the right Node is installed there.\n",
  );
  process.exit(1);
}
