/** The release's version, as the micro service and the logs tell it. A test holds it equal to package.json. */
export const RELEASE_VERSION = "0.1.0";
