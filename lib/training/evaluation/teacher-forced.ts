import { copyFile, link, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { optimize } from '../../graph/passes.ts';
import { quantizeWeights } from '../../graph/quantize.ts';
import { type Value, input } from '../../graph/value.ts';
import { ParameterSet } from '../../models/parameters.ts';
import { writeGraph } from '../../releases/models.ts';
import type { Backend } from '../../runtime/backend.ts';
import { openSafetensors } from '../../safetensors/safetensors.ts';
import type { PreparedStudy } from '../data/prepared.ts';
import { type FeedSource, feedTypes, makeFeeds, unstacked } from '../feeds.ts';
import { type StageContext, stageModel } from '../model.ts';

export interface TeacherForcedOptions {
  readonly backend: Backend;
  /** Holds generator.safetensors. */
  readonly folder: string;
  /** For the model; made and removed again. */
  readonly scratch: string;
  readonly source: FeedSource;
  readonly context: StageContext;
  readonly studies: readonly PreparedStudy[];
  readonly batch: number;
}

/** Share of report tokens that get the highest logit when all before them are given. */
export async function teacherForcedAccuracy(options: TeacherForcedOptions): Promise<number> {
  const { backend, folder, scratch, source, context, studies, batch } = options;
  const location = 'generator.safetensors';
  await mkdir(scratch, { recursive: true });
  const weights = join(scratch, location);
  await rm(weights, { force: true });
  // External data must lie beside the model; a hard link costs nothing on the same file system.
  await link(join(folder, location), weights).catch(() =>
    copyFile(join(folder, location), weights),
  );
  const path = join(scratch, 'teacher-forced.onnx');
  await writeModel(path, weights, location, source, context);
  const session = await backend.load(path);
  let [right, all] = [0, 0];
  try {
    for (let at = 0; at < studies.length; at += batch) {
      const part = studies.slice(at, at + batch);
      const stacked = await makeFeeds(source, { studies: part, size: part.length, epoch: null });
      const { fetched } = await session.run(unstacked(stacked));
      const counted = Number(fetched['counted']?.data[0] ?? 0);
      right += Number(fetched['accuracy']?.data[0] ?? 0) * counted;
      all += counted;
    }
  } finally {
    await session.dispose();
    await rm(scratch, { recursive: true, force: true });
  }
  return all === 0 ? 0 : right / all;
}

async function writeModel(
  path: string,
  weights: string,
  location: string,
  source: FeedSource,
  context: StageContext,
): Promise<void> {
  const batch = Object.fromEntries(
    Object.entries(feedTypes(source, 'batch')).map(([name, { dtype, shape }]): [string, Value] => [
      name,
      input(name, dtype, shape),
    ]),
  );
  const { accuracy, counted } = stageModel(new ParameterSet(), batch, context);
  if (!accuracy || !counted) throw new RangeError('the stage has no reports');
  const plain = optimize({
    inputs: Object.values(batch),
    outputs: [
      { name: 'accuracy', value: accuracy },
      { name: 'counted', value: counted },
    ],
  });
  const file = await openSafetensors(weights);
  // A quantized release holds codes where the graph of its training reads weights.
  const isQuantized = file.names.some((name) => name.endsWith('.int8'));
  const graph = isQuantized ? quantizeWeights(plain).graph : plain;
  try {
    await writeGraph(path, graph, { name: 'teacher forced', location }, (name) => file.info(name));
  } finally {
    await file.close();
  }
}
