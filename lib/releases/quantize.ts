import { type QuantizedWeight, quantizeWeights } from '../graph/quantize.ts';
import type { Tensor } from '../graph/types.ts';
import { type Graph, type Value, operands, sortNodes } from '../graph/value.ts';
import type { TensorSource } from '../safetensors/safetensors.ts';

/** The codes and scales of a float32 weight [rows, columns], symmetric around 0 in every block. */
export function quantizeTensor(
  { shape, data }: Tensor,
  blockSize: number,
): { readonly codes: Tensor<'uint8'>; readonly scales: Tensor<'float32'> } {
  const [rows = 0, columns = 0] = shape;
  const blocks = columns / blockSize;
  const codes = new Uint8Array(data.length);
  const scales = new Float32Array(rows * blocks);
  for (let block = 0; block < scales.length; block++) {
    const from = block * blockSize;
    let highest = 0;
    for (let i = from; i < from + blockSize; i++) {
      highest = Math.max(highest, Math.abs(data[i] as number));
    }
    const scale = highest / 127 || 1;
    scales[block] = scale;
    for (let i = from; i < from + blockSize; i++) {
      codes[i] = Math.round((data[i] as number) / scale) + 128;
    }
  }
  return {
    codes: { dtype: 'uint8', shape: [rows, blocks, blockSize], data: codes },
    scales: { dtype: 'float32', shape: [rows, blocks], data: scales },
  };
}

/** Names of the parameters that the graphs read from weight files. */
function storedNames(graphs: readonly Graph[]): Set<string> {
  const values = graphs.flatMap(({ outputs }) => outputs.map(({ value }) => value));
  const read = sortNodes(values).flatMap(operands);
  const isStored = ({ source }: Value): boolean => source.kind === 'parameter';
  return new Set(
    [...values, ...read]
      .filter(isStored)
      .map(({ source }) => ('name' in source ? source.name : '')),
  );
}

export interface QuantizedGenerator {
  readonly encoder: Graph;
  readonly decoder: Graph;
  /** The tensors that the two graphs read, for generator.safetensors. */
  readonly tensors: readonly TensorSource[];
}

/**
 * Encoder and decoder of a release with 8-bit weights. `read` gives a float32 parameter by name; it is
 * called as a tensor is written, so that the weights need not fit in memory twice.
 */
export function quantizeGenerator(
  graphs: { readonly encoder: Graph; readonly decoder: Graph },
  specs: readonly { readonly name: string; readonly shape: readonly number[] }[],
  read: (name: string) => Tensor | Promise<Tensor>,
): QuantizedGenerator {
  const encoder = quantizeWeights(graphs.encoder);
  const decoder = quantizeWeights(graphs.decoder);
  const names = storedNames([encoder.graph, decoder.graph]);
  const weights = new Map([...encoder.weights, ...decoder.weights].map((one) => [one.name, one]));
  const tensors = specs.flatMap((spec): TensorSource[] => {
    const weight = weights.get(spec.name);
    return [
      ...(names.has(spec.name) ? [plainSource(spec, read)] : []),
      ...(weight ? quantizedSources(weight, spec.shape, read) : []),
    ];
  });
  return { encoder: encoder.graph, decoder: decoder.graph, tensors };
}

type Read = Parameters<typeof quantizeGenerator>[2];

const plainSource = (
  { name, shape }: { readonly name: string; readonly shape: readonly number[] },
  read: Read,
): TensorSource => ({
  name,
  dtype: 'float32',
  shape,
  data: async () => (await read(name)).data,
});

function quantizedSources(
  { name, blockSize, codes, scales }: QuantizedWeight,
  [rows = 0, columns = 0]: readonly number[],
  read: Read,
): TensorSource[] {
  const blocks = columns / blockSize;
  const quantized = async (): Promise<ReturnType<typeof quantizeTensor>> =>
    quantizeTensor(await read(name), blockSize);
  return [
    {
      name: codes,
      dtype: 'uint8',
      shape: [rows, blocks, blockSize],
      data: async () => (await quantized()).codes.data,
    },
    {
      name: scales,
      dtype: 'float32',
      shape: [rows, blocks],
      data: async () => (await quantized()).scales.data,
    },
  ];
}
