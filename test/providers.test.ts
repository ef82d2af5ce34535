import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import type { Graph } from '../lib/graph/value.ts';
import type { Tensor } from '../lib/graph/types.ts';
import { loadPreset } from '../lib/models/preset.ts';
import {
  closeText,
  servingGraphs,
  variantNames,
  variantParameters,
} from '../lib/models/variants.ts';
import { emitModel } from '../lib/onnx/emit.ts';
import { type Backend, type Provider, createBackend } from '../lib/runtime/backend.ts';
import { tensor, uniform } from './support/engine.ts';
import { initialWeights, weightsIn } from './support/models.ts';

/** float32 sums in another order; relative to the L2 norm. */
const tolerance = 1e-3;
const demo = loadPreset('demo');

function difference(a: Tensor | undefined, b: Tensor | undefined): number {
  let [error, norm] = [0, 0];
  for (const [i, value] of Array.from(b?.data ?? [], Number).entries()) {
    error += (Number(a?.data[i]) - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(error / Math.max(norm, 1e-30));
}

const found = async (provider: Provider): Promise<Backend | string> => {
  try {
    return await createBackend({ provider });
  } catch (error) {
    if (error instanceof DomainError && error.reason === 'PROVIDER_ABSENT') return error.message;
    throw error;
  }
};

for (const provider of ['webgpu', 'cuda'] as const) {
  let other: Promise<Backend | string> | undefined;
  test.after.always(async () => {
    const backend = await other;
    if (typeof backend === 'object') await backend.dispose();
  });
  for (const variant of variantNames) {
    test.serial(`${provider} gives what cpu gives: ${variant}`, async (t) => {
      const backend = await (other ??= found(provider));
      if (typeof backend === 'string') {
        t.log(`skipped: ${backend}`);
        t.pass();
        return;
      }
      const cpu = await createBackend({ intraOpThreads: 1 });
      t.teardown(() => cpu.dispose());
      const weights = weightsIn(initialWeights(variantParameters(variant, demo)));
      const run = async (name: string, graph: Graph, feeds: Record<string, Tensor>) => {
        const model = emitModel(graph, { name, weights });
        const outputs = await Promise.all(
          [cpu, backend].map(async (each) => (await (await each.load(model)).run(feeds)).fetched),
        );
        const [expected = {}, got = {}] = outputs;
        for (const output of Object.keys(expected)) {
          const error = difference(got[output], expected[output]);
          t.true(error < tolerance, `${name}.${output}: relative error ${error}`);
        }
        return expected;
      };
      const graphs = servingGraphs(variant, demo);
      const shape = [2, 3, demo.imageSize, demo.imageSize];
      const random = uniform(3);
      const image = tensor(Array.from({ length: shape.reduce((a, b) => a * b) }, random), shape);
      const { tokens, pooled } = await run('vision', graphs.vision, { image });
      if (!tokens || !pooled) throw new Error('vision gave nothing');
      await run('labeler', graphs.labeler, { pooled });
      const text = [...closeText([7, 8, 9], demo), ...closeText([11, 4, 8], demo)];
      const textIds = tensor(text, [2, 4], 'int64');
      const textMask = tensor([1, 1, 1, 1, 1, 1, 0, 0], [2, 4], 'int64');
      await run('encoder', graphs.encoder, { tokens, textIds, textMask });
    });
  }
}
