import type { Tensor } from '../../lib/graph/types.ts';
import { initialTensor } from '../../lib/models/init.ts';
import type { ParameterSpec } from '../../lib/models/parameters.ts';
import type { WeightSource } from '../../lib/onnx/emit.ts';

/** Initial weights of all specs, by name. */
export const initialWeights = (specs: readonly ParameterSpec[], seed = 1): Map<string, Tensor> =>
  new Map(specs.map((spec) => [spec.name, initialTensor(spec, seed)]));

/** Hands tensors to `emitModel` as bytes within the model. */
export const weightsIn =
  (tensors: ReadonlyMap<string, Tensor>) =>
  (name: string): WeightSource | undefined => {
    const data = tensors.get(name)?.data;
    return data && new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  };
