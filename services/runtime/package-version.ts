/** The version that the processes and the command tell. */
import { RELEASE_VERSION } from "../../contracts/version.ts";

export const packageVersion = (): string => RELEASE_VERSION;
