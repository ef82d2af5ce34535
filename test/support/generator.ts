import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { o } from '../../lib/graph/build.ts';
import { optimize } from '../../lib/graph/passes.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { type Graph, input } from '../../lib/graph/value.ts';
import type { Preset } from '../../lib/models/preset.ts';
import { type VariantName, servingGraphs, variantParameters } from '../../lib/models/variants.ts';
import { maskBias } from '../../lib/models/layers.ts';
import { ParameterSet } from '../../lib/models/parameters.ts';
import { decoderStepGraph, servedMemory } from '../../lib/models/t5-step.ts';
import { type T5Config, t5Decoder } from '../../lib/models/t5.ts';
import { type EmitOptions, emitModel } from '../../lib/onnx/emit.ts';
import { createBackend } from '../../lib/runtime/backend.ts';
import {
  type Generator,
  type GeneratorOptions,
  createGenerator,
} from '../../lib/runtime/decode/generator.ts';
import { type TestSession, compile, graphOf, tensor } from './engine.ts';
import { type T5Golden, t5Config } from './golden/t5-file.ts';
import { ruledTensor } from './golden/rule.ts';
import { initialWeights, weightsIn } from './models.ts';

const goldenFile = new URL('../golden/t5.json', import.meta.url);

/** A small decoder, the weights of it, and a memory of `memoryTokens` tokens as its "vision" tokens. */
export interface SmallModel {
  readonly config: T5Config;
  readonly weights: EmitOptions['weights'];
  readonly memoryTokens: number;
}

/** The decoder of the golden file. */
export async function goldenModel(): Promise<SmallModel> {
  const golden = JSON.parse(await readFile(goldenFile, 'utf8')) as T5Golden;
  return {
    config: t5Config(golden.config),
    weights: weightsIn(new Map(golden.params.map((spec) => [spec.name, ruledTensor(spec)]))),
    memoryTokens: Number(golden.encoder_hidden_states.shape[1]),
  };
}

/** An encoder that passes its tokens on, and masks those beyond the length of the text. */
function passingEncoder({ config }: SmallModel): Graph {
  const tokens = input('tokens', 'float32', ['batch', 'memory', config.dModel]);
  const textIds = input('textIds', 'int64', ['batch', 'memory']);
  const textMask = input('textMask', 'int64', ['batch', 'memory']);
  const cross = servedMemory(new ParameterSet(), tokens, config);
  return graphOf([tokens, textIds, textMask], {
    ...cross,
    memoryBias: o.Unsqueeze(maskBias(textMask), [1, 2]),
  });
}

type Settings = Partial<Omit<GeneratorOptions, 'backend' | 'folder'>>;

interface Running {
  readonly generator: Generator;
  readonly close: () => Promise<void>;
}

/** Starts a generator over two graphs in a backend of its own. */
export async function openGenerator(
  graphs: { readonly encoder: Graph; readonly decoder: Graph },
  weights: EmitOptions['weights'],
  settings: Settings & Pick<GeneratorOptions, 'preset'>,
): Promise<Running> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
  for (const name of ['encoder', 'decoder'] as const) {
    const model = emitModel(graphs[name], weights ? { name, weights } : { name });
    await writeFile(join(folder, `${name}.onnx`), model);
  }
  const backend = await createBackend({ intraOpThreads: 1 });
  const generator = await createGenerator({ backend, folder, ...settings });
  const close = async (): Promise<void> => {
    await backend.dispose();
    await rm(folder, { recursive: true });
  };
  return { generator, close };
}

/** A generator over a small decoder; with text of n tokens, n + 1 memory tokens are not masked. */
export function openSmallGenerator(model: SmallModel, settings: Settings = {}): Promise<Running> {
  const decoder = optimize(decoderStepGraph(new ParameterSet(), model.config));
  const preset = {
    maxTextTokens: model.memoryTokens - 1,
    maxReportTokens: 512,
    fusion: { sep: 3, vocabulary: 1000 },
    t5: model.config,
  };
  const graphs = { encoder: passingEncoder(model), decoder };
  return openGenerator(graphs, model.weights, { preset, ...settings });
}

async function closing(t: ExecutionContext, running: Promise<Running>): Promise<Generator> {
  const { generator, close } = await running;
  t.teardown(close);
  return generator;
}

export const smallGenerator = (
  t: ExecutionContext,
  model: SmallModel,
  settings?: Settings,
): Promise<Generator> => closing(t, openSmallGenerator(model, settings));

/** A generator of a variant with its initial weights. */
export const variantGenerator = (
  t: ExecutionContext,
  variant: VariantName,
  preset: Preset,
  settings: Settings = {},
): Promise<Generator> => {
  const weights = weightsIn(initialWeights(variantParameters(variant, preset)));
  return closing(
    t,
    openGenerator(servingGraphs(variant, preset), weights, { preset, ...settings }),
  );
};

/** The decoder without a cache: log-probabilities of the token after each of `ids`, recomputed. */
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
