import { join } from 'node:path';
import { DomainError } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { outOfDistribution } from '../../lib/inference/distribution.ts';
import { halfPrecision } from '../../lib/inference/precision.ts';
import type { Backend, BackendOptions, Session } from '../../lib/runtime/backend.ts';
import type { Model } from '../../lib/releases/holder.ts';
import { loadWarmed } from '../../lib/runtime/warm.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import type { OpenedRelease } from '../../lib/releases/store/store.ts';

/** The features of one image. */
export interface Embedding {
  /** [N, C] */
  readonly tokens: Float32Array;
  readonly tokensShape: readonly number[];
  /** [C], in half precision. */
  readonly pooled: Float32Array;
  /** See lib/inference/distribution.ts. */
  readonly outOfDistribution: number | undefined;
}

/** The vision part of a release. */
export class VisionModel implements Model {
  readonly manifest: Manifest;
  readonly #backend: Backend;
  readonly #session: Session;

  private constructor(manifest: Manifest, backend: Backend, session: Session) {
    this.manifest = manifest;
    this.#backend = backend;
    this.#session = session;
  }

  /** Loads into a worker of its own, and warms it up by embedding blank images: one, then a full batch. */
  static async load(
    { manifest, folder }: OpenedRelease,
    options: BackendOptions,
    maxBatch: number,
  ): Promise<VisionModel> {
    return loadWarmed(options, async (backend) => {
      const session = await backend.load(join(folder, 'vision.onnx'));
      const model = new VisionModel(manifest, backend, session);
      for (const size of new Set([1, maxBatch])) {
        const blank = Array.from({ length: size }, () => model.#blank());
        for (const { tokens, pooled } of await model.embed(blank)) checkFinite(tokens, pooled);
      }
      return model;
    });
  }

  /** One run for all images, float32 [3, H, W] each. */
  async embed(
    images: readonly Tensor<'float32'>[],
    signal?: AbortSignal,
  ): Promise<readonly Embedding[]> {
    const { height, width } = this.manifest.preprocessing;
    const pixels = 3 * height * width;
    const data = new Float32Array(images.length * pixels);
    for (const [index, image] of images.entries()) data.set(image.data, index * pixels);
    const image: Tensor = { dtype: 'float32', shape: [images.length, 3, height, width], data };
    const options = { transfer: true, ...(signal !== undefined && { signal }) };
    const { fetched } = await this.#session.run({ image }, options);
    const { shape, data: tokens } = fetched['tokens'] as Tensor<'float32'>;
    const allPooled = fetched['pooled']?.data as Float32Array;
    return images.map((_, index) => {
      const pooled = halfPrecision(rowOf(allPooled, index, images.length));
      return {
        tokens: rowOf(tokens, index, images.length),
        tokensShape: shape.slice(1),
        pooled,
        outOfDistribution: outOfDistribution(pooled, this.manifest.outOfDistribution),
      };
    });
  }

  dispose(): Promise<void> {
    return this.#backend.dispose();
  }

  #blank(): Tensor<'float32'> {
    const { height, width } = this.manifest.preprocessing;
    return {
      dtype: 'float32',
      shape: [3, height, width],
      data: new Float32Array(3 * height * width),
    };
  }
}

function rowOf(values: Float32Array, index: number, rows: number): Float32Array {
  const length = values.length / rows;
  return values.subarray(index * length, (index + 1) * length);
}

/** A release whose features are NaN or infinite is not served. */
function checkFinite(...all: readonly Float32Array[]): void {
  if (all.every((values) => values.every((value) => Number.isFinite(value)))) return;
  const message = 'the vision model gives NaN or infinite features for a blank image';
  throw new DomainError('DATA_LOSS', 'MODEL_BROKEN', message);
}
