/**
 * Features [C] or [N, C] rounded to half precision, as they leave the vision model. What decides on
 * them reads the rounded values, whether they crossed a network or not.
 */
export const halfPrecision = (values: Float32Array): Float32Array<ArrayBuffer> =>
  new Float32Array(new Float16Array(values));
