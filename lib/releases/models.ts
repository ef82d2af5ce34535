import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomically } from '../atomic.ts';
import { DomainError, invalidArgument } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import type { Graph } from '../graph/value.ts';
import {
  type VariantName,
  type WeightPart,
  servingGraphs,
  variantParameters,
  weightPartOf,
} from '../models/variants.ts';
import type { Preset } from '../models/preset.ts';
import { emitModel } from '../onnx/emit.ts';
import {
  type TensorInfo,
  type TensorSource,
  writeSafetensors,
} from '../safetensors/safetensors.ts';
import { printType } from '../tensor.ts';
import { type GraphName, type Quantization, graphWeights } from './manifest.ts';
import { quantizeGenerator } from './quantize.ts';

/** What the models of a release are made for. */
export interface ModelDescription {
  readonly variant: VariantName;
  readonly preset: Preset;
  readonly quantization: Quantization;
}

/** A float32 parameter by its name in the graphs; undefined where there is none. Called as it is written. */
export type ReadParameter = (name: string) => Tensor | undefined | Promise<Tensor | undefined>;

/**
 * Writes the models of a release, the only code that does: four graphs, and the weights that they point
 * into, float32 or quantized. One tensor is in memory at a time. `folder` must be empty or absent.
 * Throws INVALID_ARGUMENT (RELEASE_TENSOR) for a parameter that is missing or of another type, and
 * ALREADY_EXISTS.
 */
export async function writeModels(
  folder: string,
  { variant, preset, quantization }: ModelDescription,
  read: ReadParameter,
): Promise<void> {
  await emptyFolder(folder);
  const sources: Record<WeightPart, TensorSource[]> = { vision: [], labeler: [], generator: [] };
  const checked = new Map<string, () => Promise<Tensor>>();
  for (const { name, shape } of variantParameters(variant, preset)) {
    const tensor = (): Promise<Tensor> => checkedTensor(name, shape, read);
    checked.set(name, tensor);
    const data = async (): Promise<Tensor['data']> => (await tensor()).data;
    sources[weightPartOf(name)].push({ name, dtype: 'float32', shape, data });
  }
  let graphs: Readonly<Record<GraphName, Graph>> = servingGraphs(variant, preset);
  if (quantization === 'int8') {
    const { encoder, decoder, tensors } = quantizeGenerator(graphs, sources.generator, (name) =>
      checked.get(name)!(),
    );
    graphs = { ...graphs, encoder, decoder };
    sources.generator = [...tensors];
  }
  const weights = new Map<string, ReadonlyMap<string, TensorInfo>>();
  for (const [part, tensors] of Object.entries(sources)) {
    const location = `${part}.safetensors`;
    weights.set(location, await writeSafetensors(join(folder, location), tensors));
  }
  for (const name of Object.keys(graphWeights) as GraphName[]) {
    const location = graphWeights[name];
    await writeGraph(join(folder, `${name}.onnx`), graphs[name], { name, location }, (parameter) =>
      weights.get(location)?.get(parameter),
    );
  }
}

/** Writes a graph whose weights lie in the .safetensors file `location` beside it. */
export function writeGraph(
  path: string,
  graph: Graph,
  { name, location }: { readonly name: string; readonly location: string },
  find: (parameter: string) => Pick<TensorInfo, 'byteOffset' | 'byteLength'> | undefined,
): Promise<void> {
  const bytes = emitModel(graph, {
    name,
    weights: (parameter) => {
      const found = find(parameter);
      if (!found) return undefined;
      return { location, byteOffset: found.byteOffset, byteLength: found.byteLength };
    },
  });
  return writeAtomically(path, (file) => file.writeFile(bytes));
}

async function checkedTensor(
  name: string,
  shape: readonly number[],
  read: ReadParameter,
): Promise<Tensor> {
  const tensor = await read(name);
  const expected = printType('float32', shape);
  const got = tensor && printType(tensor.dtype, tensor.shape);
  if (tensor && got === expected) return tensor;
  const message = `${got === undefined ? 'is missing' : `is ${got}`}, expected ${expected}`;
  throw invalidArgument('RELEASE_TENSOR', `tensors.${name}`, message);
}

async function emptyFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const [found] = await readdir(folder);
  if (found === undefined) return;
  const message = `${folder}: holds ${found} already; a release is written into an empty folder`;
  throw new DomainError('ALREADY_EXISTS', 'FOLDER_NOT_EMPTY', message, { field: 'folder' });
}
