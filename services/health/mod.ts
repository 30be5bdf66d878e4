/** The public entry of health: what users import as `omnirelay/health`. */
export { Backpressure } from "../../contracts/backpressure.ts";
export {
  BackpressureListener,
  type BackpressureListenerOptions,
  type BackpressureSource,
} from "./backpressure-listener.ts";
