import { join } from 'node:path';
import { DomainError } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import type { Backend, BackendOptions, Session } from '../../lib/runtime/backend.ts';
import type { Model } from '../../lib/releases/holder.ts';
import { loadWarmed } from '../../lib/runtime/warm.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import type { OpenedRelease } from '../../lib/releases/store/store.ts';

/** What the vision model makes of a picture. */
export interface Embedding {
  /** [N, C] */
  readonly tokens: Float32Array;
  readonly tokensShape: readonly number[];
  /** [C] */
  readonly pooled: Float32Array;
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

  /** Loads into a worker of its own, and warms by embedding blank pictures, one and a whole batch. */
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

  /** One run for all pictures: float32 [3, H, W] each. */
  async embed(
    images: readonly Tensor<'float32'>[],
    signal?: AbortSignal,
  ): Promise<readonly Embedding[]> {
    const { height, width } = this.manifest.preprocessing;
    const pixels = 3 * height * width;
    const data = new Float32Array(images.length * pixels);
    for (const [index, picture] of images.entries()) data.set(picture.data, index * pixels);
    const image: Tensor = { dtype: 'float32', shape: [images.length, 3, height, width], data };
    const options = { transfer: true, ...(signal !== undefined && { signal }) };
    const { fetched } = await this.#session.run({ image }, options);
    const { shape, data: tokens } = fetched['tokens'] as Tensor<'float32'>;
    const pooled = fetched['pooled']?.data as Float32Array;
    return images.map((_, index) => ({
      tokens: rowOf(tokens, index, images.length),
      tokensShape: shape.slice(1),
      pooled: rowOf(pooled, index, images.length),
    }));
  }

  /**
   * The mean squared distance of each channel from that of the training pictures, in their standard
   * deviations, over the release's threshold: above 1 is too far. Undefined without calibration.
   */
  outOfDistribution(pooled: Float32Array): number | undefined {
    const { outOfDistribution: calibration } = this.manifest;
    if (calibration === null) return undefined;
    const { mean, std, threshold } = calibration;
    const sum = pooled.reduce((sum, value, channel) => {
      const distance = (value - mean[channel]!) / std[channel]!;
      return sum + distance * distance;
    }, 0);
    return sum / pooled.length / threshold;
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

/** A release that answers with what is no number is not served. */
function checkFinite(...all: readonly Float32Array[]): void {
  if (all.every((values) => values.every((value) => Number.isFinite(value)))) return;
  const message = 'the vision model answers a blank picture with values that are no numbers';
  throw new DomainError('DATA_LOSS', 'MODEL_BROKEN', message);
}
