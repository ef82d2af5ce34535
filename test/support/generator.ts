import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { o } from '../../lib/graph/build.ts';
import { optimize } from '../../lib/graph/passes.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { type Graph, input } from '../../lib/graph/value.ts';
import { hashName, mix32 } from '../../lib/models/init.ts';
import { maskBias } from '../../lib/models/layers.ts';
import { ParameterSet } from '../../lib/models/parameters.ts';
import { decoderStepGraph } from '../../lib/models/t5-step.ts';
import { type T5Config, crossKeyValues, t5Decoder } from '../../lib/models/t5.ts';
import { type EmitOptions, emitModel } from '../../lib/onnx/emit.ts';
import { createBackend } from '../../lib/runtime/backend.ts';
import {
  type Generator,
  type GeneratorOptions,
  createGenerator,
} from '../../lib/runtime/decode/generator.ts';
import { type TestSession, compile, graphOf, tensor } from './engine.ts';
import { weightsIn } from './models.ts';

interface GoldenTensor {
  readonly name: string;
  readonly key: string;
  readonly shape: readonly number[];
  readonly center: number;
  readonly scale: number;
}

export interface GoldenT5 {
  readonly config: Readonly<Record<string, number>>;
  readonly params: readonly GoldenTensor[];
  readonly encoder_hidden_states: Omit<GoldenTensor, 'name'>;
  readonly greedy_ids_24_steps_no_eos: readonly (readonly number[])[];
  readonly beam4_16_steps_no_eos: readonly { score: number; ids: readonly number[] }[];
}

export const readGolden = async (): Promise<GoldenT5> =>
  JSON.parse(await readFile(new URL('../golden/t5.json', import.meta.url), 'utf8')) as GoldenT5;

/** The golden files' rule for tensors that any language can reproduce. */
export function goldenTensor({ key, shape, center, scale }: Omit<GoldenTensor, 'name'>): Tensor {
  const hash = hashName(key);
  const size = shape.reduce((product, dim) => product * dim, 1);
  const values = Array.from({ length: size }, (_, i) => {
    const unit = mix32((hash + Math.imul(i, 0x9e3779b9)) | 0) / 2 ** 31 - 1;
    return center + scale * unit;
  });
  return tensor(values, shape);
}

/** A small decoder, the weights of it, and a memory of `memoryTokens` tokens as its "vision" tokens. */
export interface SmallModel {
  readonly config: T5Config;
  readonly weights: EmitOptions['weights'];
  readonly memoryTokens: number;
}

export function goldenModel({
  config,
  params,
  encoder_hidden_states: encoder,
}: GoldenT5): SmallModel {
  const tensors = new Map(params.map((spec) => [spec.name, goldenTensor(spec)]));
  return {
    config: {
      dModel: Number(config['d_model']),
      dKv: Number(config['d_kv']),
      heads: Number(config['num_heads']),
      dFf: Number(config['d_ff']),
      layers: Number(config['num_decoder_layers']),
      vocabulary: Number(config['vocab_size']),
      buckets: 32,
      maxDistance: 128,
    },
    weights: weightsIn(tensors),
    memoryTokens: Number(encoder.shape[1]),
  };
}

/** An encoder that hands its tokens on, and masks as many of them as the text is shorter than they. */
function passingEncoder({ config }: SmallModel): Graph {
  const tokens = input('tokens', 'float32', ['batch', 'memory', config.dModel]);
  const textIds = input('textIds', 'int64', ['batch', 'memory']);
  const textMask = input('textMask', 'int64', ['batch', 'memory']);
  const cross = crossKeyValues(new ParameterSet(), tokens, config);
  const named = cross.flatMap(({ key, value }, i) => [
    [`cross.${i}.key`, key],
    [`cross.${i}.value`, value],
  ]);
  return graphOf([tokens, textIds, textMask], {
    ...Object.fromEntries(named),
    memoryBias: o.Unsqueeze(maskBias(textMask), [1, 2]),
  });
}

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

type Settings = Partial<Omit<GeneratorOptions, 'backend' | 'folder'>>;

/** Starts a generator over two graphs in a backend of its own. */
export async function startGenerator(
  t: ExecutionContext,
  graphs: { readonly encoder: Graph; readonly decoder: Graph },
  weights: EmitOptions['weights'],
  settings: Settings & Pick<GeneratorOptions, 'preset'>,
): Promise<Generator> {
  const folder = await temporaryFolder(t);
  for (const name of ['encoder', 'decoder'] as const) {
    const model = emitModel(graphs[name], weights ? { name, weights } : { name });
    await writeFile(join(folder, `${name}.onnx`), model);
  }
  const backend = await createBackend({ intraOpThreads: 1 });
  t.teardown(() => backend.dispose());
  return createGenerator({ backend, folder, ...settings });
}

/** A generator over a small decoder; text of n tokens leaves n + 1 memory tokens in sight. */
export function smallGenerator(
  t: ExecutionContext,
  model: SmallModel,
  settings: Settings = {},
): Promise<Generator> {
  const decoder = optimize(decoderStepGraph(new ParameterSet(), model.config));
  const preset = {
    maxTextTokens: model.memoryTokens - 1,
    maxReportTokens: 512,
    fusion: { sep: 3 },
  };
  const graphs = { encoder: passingEncoder(model), decoder };
  return startGenerator(t, graphs, model.weights, { preset, ...settings });
}

/** The decoder without a cache: log-probabilities of the token after `ids`, computed anew. */
export async function fullDecoder(
  t: ExecutionContext,
  { config, weights, memoryTokens }: SmallModel,
): Promise<(ids: readonly number[], tokens: Tensor, visible: number) => Promise<number[][]>> {
  const ids = input('ids', 'int64', [1, 'length']);
  const memory = input('memory', 'float32', [1, memoryTokens, config.dModel]);
  const mask = input('mask', 'float32', [1, memoryTokens]);
  const bias = o.Unsqueeze(maskBias(mask), [1, 2]);
  const logits = t5Decoder(new ParameterSet(), ids, memory, bias, config);
  const graph = graphOf([ids, memory, mask], { scores: o.LogSoftmax(logits) });
  const session: TestSession = await compile(graph, weights ? { weights } : {});
  t.teardown(() => session.release());
  return async (ids, tokens, visible) => {
    const mask = Array.from({ length: memoryTokens }, (_, i) => Number(i < visible));
    const { scores } = await session.run({
      ids: tensor(ids, [1, ids.length], 'int64'),
      memory: { ...tokens, shape: [1, ...tokens.shape] },
      mask: tensor(mask, [1, memoryTokens]),
    });
    const all = Array.from(scores?.data ?? [], Number);
    return ids.map((_, i) => all.slice(i * config.vocabulary, (i + 1) * config.vocabulary));
  };
}
