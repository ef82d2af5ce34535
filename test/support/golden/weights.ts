import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { adamw } from '../../../lib/graph/optimizer.ts';
import { optimize } from '../../../lib/graph/passes.ts';
import { trainingProgram } from '../../../lib/graph/program.ts';
import { constantSchedule } from '../../../lib/graph/schedule.ts';
import { backward } from '../../../lib/graph/backward.ts';
import type { Tensor } from '../../../lib/graph/types.ts';
import type { Value } from '../../../lib/graph/value.ts';
import type { ParameterSet } from '../../../lib/models/parameters.ts';
import type { Architecture } from '../../../lib/checkpoints/architectures.ts';
import { matchForeignWeights } from '../../../lib/checkpoints/match.ts';
import { openForeignWeights } from '../../../lib/checkpoints/open.ts';
import { writeSafetensors } from '../../../lib/safetensors/safetensors.ts';
import { graphOf, numbers, runGraph, tensor } from '../engine.ts';
import { weightsIn } from '../models.ts';
import {
  type Comparison,
  type Summary,
  compareExactly,
  compareNumber,
  compareTensor,
  tolerances,
} from './compare.ts';
import { type Ruled, ruledTensor } from './rule.ts';

export type GoldenParameter = Ruled & { readonly name: string };

/** Gradients of a loss, and the losses of AdamW steps from there. */
export interface GoldenTraining {
  readonly value: number;
  readonly of: Readonly<Record<string, Summary>>;
  readonly adamw_losses?: readonly number[];
}

export interface Imported {
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly comparisons: readonly Comparison[];
}

/** Writes the golden parameters as a checkpoint and imports it: every parameter must find its tensor. */
export async function importGolden(
  root: ParameterSet,
  parameters: readonly GoldenParameter[],
  architecture: Architecture,
): Promise<Imported> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-golden-'));
  try {
    const path = join(folder, 'model.safetensors');
    await writeSafetensors(
      path,
      parameters.map((parameter) => {
        const data = (): Float32Array => ruledTensor(parameter).data;
        return { name: parameter.name, dtype: 'float32', shape: parameter.shape, data };
      }),
    );
    const checkpoint = await openForeignWeights(path);
    const match = matchForeignWeights(root.specs, checkpoint, architecture);
    const weights = new Map<string, Tensor>();
    for (const name of match.matched) weights.set(name, await match.read(name));
    await checkpoint.close();
    const comparisons = [
      compareExactly('import: parameters without a tensor', match.initial, []),
      compareExactly('import: tensors without a parameter', match.unused, []),
    ];
    return { weights, comparisons };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Runs a model with imported weights; everything it reads are constants. */
export const runWith = (
  outputs: Readonly<Record<string, Value>>,
  weights: ReadonlyMap<string, Tensor>,
): Promise<Record<string, Tensor>> =>
  runGraph(optimize(graphOf([], outputs)), {}, { threads: 2, weights: weightsIn(weights) });

/** Loss, gradients and, where the file has them, the losses of AdamW steps. */
export async function checkTraining(
  loss: Value,
  root: ParameterSet,
  { weights }: Imported,
  golden: GoldenTraining,
): Promise<Comparison[]> {
  const valueOf = new Map(root.specs.map(({ name, value }) => [name, value]));
  const names = Object.keys(golden.of).filter((name) => valueOf.has(name));
  const gradients = backward(
    loss,
    names.map((name) => valueOf.get(name) as Value),
  );
  const outputs = Object.fromEntries(names.map((name, i) => [name, gradients[i] as Value]));
  const results = await runWith({ loss, ...outputs }, weights);
  const comparisons = [
    compareNumber('loss', results['loss']?.data[0] as number, golden.value, tolerances.float32),
    ...Object.entries(golden.of).map(([name, summary]) =>
      compareTensor(`gradient of ${name}`, results[name], summary, tolerances.gradient),
    ),
  ];
  const { adamw_losses: losses } = golden;
  if (!losses) return comparisons;
  const actual = await adamwLosses(loss, root, weights, losses.length);
  return [
    ...comparisons,
    ...losses.map((expected, step) =>
      compareNumber(`AdamW loss of step ${step}`, actual[step], expected, tolerances.adamw),
    ),
  ];
}

async function adamwLosses(
  loss: Value,
  root: ParameterSet,
  weights: ReadonlyMap<string, Tensor>,
  steps: number,
): Promise<number[]> {
  const { graph, carried } = trainingProgram({
    inputs: {},
    forward: () => ({ loss }),
    trainable: root.specs.map(({ value }) => value),
    optimizer: adamw({
      learningRate: () => constantSchedule(1e-3),
      weightDecay: () => 0.01,
    }),
  });
  const state = carried.map(({ name, dtype, shape, initial = 0 }) => {
    const size = shape.reduce((product, dim) => product * dim, 1);
    const values = Array<number>(size).fill(initial);
    return [name, weights.get(name) ?? tensor(values, shape, dtype)] as const;
  });
  const results = await runGraph(graph, {
    ...Object.fromEntries(state),
    steps: tensor([steps], [], 'int64'),
    seed: tensor([0], [], 'uint32'),
  });
  return numbers(results['losses']);
}
