import { join } from 'node:path';
import type { Tensor } from '../graph/types.ts';
import { normalize } from '../image/preprocess.ts';
import type { Preset } from '../models/preset.ts';
import type { Backend } from '../runtime/backend.ts';
import { observations } from '../text/labels/observations.ts';
import type { TrainingConfig } from './config.ts';
import type { Prepared, PreparedStudy } from './data/prepared.ts';

/** What a released vision encoder and classifier make of a picture. */
export interface Seen {
  /** float32 [N, C]; absent where only the labels were asked for. */
  readonly tokens?: Tensor;
  /** float32 [C] */
  readonly pooled: Float32Array;
  /** Of the 14 labels. */
  readonly logits: Float32Array;
}

export interface SeeOptions {
  readonly backend: Backend;
  /** Holds vision.onnx and labeler.onnx. */
  readonly folder: string;
  readonly preset: Preset;
  readonly preprocessing: TrainingConfig['preprocessing'];
  readonly prepared: Pick<Prepared, 'pixels'>;
  readonly batch: number;
  readonly tokens: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Runs vision and classifier over studies as serving does. */
export async function seeStudies(
  studies: readonly PreparedStudy[],
  options: SeeOptions,
): Promise<Seen[]> {
  const { backend, folder, preset, preprocessing, prepared, batch, signal, onProgress } = options;
  const { imageSize } = preset;
  const spec = { ...preprocessing, height: imageSize, width: imageSize };
  const vision = await backend.load(join(folder, 'vision.onnx'));
  const labeler = await backend.load(join(folder, 'labeler.onnx'));
  const seen: Seen[] = [];
  try {
    for (let at = 0; at < studies.length; at += batch) {
      signal?.throwIfAborted();
      const part = studies.slice(at, at + batch);
      const each = 3 * imageSize * imageSize;
      const data = new Float32Array(part.length * each);
      for (const [i, study] of part.entries()) {
        data.set(normalize(await prepared.pixels(study), spec).data, i * each);
      }
      const image: Tensor = {
        dtype: 'float32',
        shape: [part.length, 3, imageSize, imageSize],
        data,
      };
      const fetch = options.tokens ? ['tokens', 'pooled'] : ['pooled'];
      const { fetched } = await vision.run({ image }, { fetch, transfer: true });
      const pooled = fetched['pooled'] as Tensor<'float32'>;
      const logits = (await labeler.run({ pooled })).fetched['logits'] as Tensor<'float32'>;
      seen.push(...split(part.length, pooled, logits, fetched['tokens']));
      onProgress?.(at + part.length, studies.length);
    }
  } finally {
    await vision.dispose();
    await labeler.dispose();
  }
  return seen;
}

function split(
  rows: number,
  pooled: Tensor<'float32'>,
  logits: Tensor<'float32'>,
  tokens: Tensor | undefined,
): Seen[] {
  const channels = pooled.data.length / rows;
  const of = <T extends { slice(from: number, to: number): T }>(
    data: T,
    row: number,
    each: number,
  ) => data.slice(row * each, (row + 1) * each);
  return Array.from({ length: rows }, (_, row) => ({
    pooled: of(pooled.data, row, channels),
    logits: of(logits.data, row, observations.length),
    ...(tokens && {
      tokens: {
        dtype: 'float32',
        shape: tokens.shape.slice(1),
        data: of(tokens.data as Float32Array, row, tokens.data.length / rows),
      } as const,
    }),
  }));
}
