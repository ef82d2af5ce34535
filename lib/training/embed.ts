import { join } from 'node:path';
import type { Tensor } from '../graph/types.ts';
import type { Preprocessing } from '../image/preprocessing.ts';
import { normalize } from '../inference/normalization.ts';
import { halfPrecision } from '../inference/precision.ts';
import type { Backend } from '../runtime/backend.ts';
import { observations } from '../text/labels/observations.ts';
import type { Preset } from '../models/preset.ts';
import type { TrainingConfig } from './config.ts';
import type { Prepared, PreparedStudy } from './data/prepared.ts';

/** What stands between a decoded radiograph and the vision model of a run. */
export const preprocessingOf = (
  { preprocessing }: Pick<TrainingConfig, 'preprocessing'>,
  { imageSize }: Pick<Preset, 'imageSize'>,
): Preprocessing => ({ ...preprocessing, height: imageSize, width: imageSize });

/** What vision and labeler of a release compute of a study's image, in half precision. */
export interface Features {
  /** float32 [N, C]; absent where it was not requested. */
  readonly tokens?: Tensor;
  /** float32 [C] */
  readonly pooled: Float32Array;
  /** Of the 14 labels. */
  readonly logits: Float32Array;
}

export interface EmbedOptions {
  readonly backend: Backend;
  /** Holds vision.onnx and labeler.onnx. */
  readonly folder: string;
  /** Of the release; the prepared pixels have its size. */
  readonly preprocessing: Preprocessing;
  readonly prepared: Pick<Prepared, 'pixels'>;
  readonly batch: number;
  readonly tokens: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Runs vision and labeler over studies as the services do. */
export async function embedStudies(
  studies: readonly PreparedStudy[],
  options: EmbedOptions,
): Promise<Features[]> {
  const { backend, folder, preprocessing, prepared, batch, signal, onProgress } = options;
  const { height, width } = preprocessing;
  const vision = await backend.load(join(folder, 'vision.onnx'));
  const labeler = await backend.load(join(folder, 'labeler.onnx'));
  const features: Features[] = [];
  try {
    for (let at = 0; at < studies.length; at += batch) {
      signal?.throwIfAborted();
      const part = studies.slice(at, at + batch);
      const each = 3 * height * width;
      const data = new Float32Array(part.length * each);
      for (const [i, study] of part.entries()) {
        data.set(normalize(await prepared.pixels(study), preprocessing).data, i * each);
      }
      const image: Tensor = { dtype: 'float32', shape: [part.length, 3, height, width], data };
      const fetch = options.tokens ? ['tokens', 'pooled'] : ['pooled'];
      const { fetched } = await vision.run({ image }, { fetch, transfer: true });
      const pooled = rounded(fetched['pooled'] as Tensor<'float32'>);
      const tokens = fetched['tokens'] && rounded(fetched['tokens'] as Tensor<'float32'>);
      const logits = (await labeler.run({ pooled })).fetched['logits'] as Tensor<'float32'>;
      features.push(...split(part.length, pooled, logits, tokens));
      onProgress?.(at + part.length, studies.length);
    }
  } finally {
    await vision.dispose();
    await labeler.dispose();
  }
  return features;
}

const rounded = ({ dtype, shape, data }: Tensor<'float32'>): Tensor<'float32'> => ({
  dtype,
  shape,
  data: halfPrecision(data),
});

function split(
  rows: number,
  pooled: Tensor<'float32'>,
  logits: Tensor<'float32'>,
  tokens: Tensor<'float32'> | undefined,
): Features[] {
  const channels = pooled.data.length / rows;
  const of = (data: Float32Array, row: number, each: number): Float32Array =>
    data.slice(row * each, (row + 1) * each);
  return Array.from({ length: rows }, (_, row) => ({
    pooled: of(pooled.data, row, channels),
    logits: of(logits.data, row, observations.length),
    ...(tokens && {
      tokens: {
        dtype: 'float32',
        shape: tokens.shape.slice(1),
        data: of(tokens.data, row, tokens.data.length / rows),
      } as const,
    }),
  }));
}
