/** The public entry of the health library. */
export { Backpressure } from "../../contracts/backpressure.ts";
export { BackpressureListener, type BackpressureListenerOptions } from "./backpressure-listener.ts";
