import { join } from 'node:path';
import { DomainError } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { type LabelDecision, decideLabels } from '../../lib/inference/labels.ts';
import type { Backend, BackendOptions, Session } from '../../lib/runtime/backend.ts';
import type { Model } from '../../lib/releases/holder.ts';
import { loadWarmed } from '../../lib/runtime/warm.ts';
import { observations } from '../../lib/text/labels/observations.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import type { OpenedRelease } from '../../lib/releases/store/store.ts';

/** The labeler part of a release. */
export class LabelerModel implements Model {
  readonly manifest: Manifest;
  /** Of `pooled`. */
  readonly channels: number;
  readonly #backend: Backend;
  readonly #session: Session;

  private constructor(manifest: Manifest, backend: Backend, session: Session) {
    this.manifest = manifest;
    this.channels = Number(session.inputs[0]?.shape[1]);
    this.#backend = backend;
    this.#session = session;
  }

  /** Loads into a worker of its own, and warms it up by classifying blank features. */
  static async load(
    { manifest, folder }: OpenedRelease,
    options: BackendOptions,
    maxBatch: number,
  ): Promise<LabelerModel> {
    return loadWarmed(options, async (backend) => {
      const session = await backend.load(join(folder, 'labeler.onnx'));
      const model = new LabelerModel(manifest, backend, session);
      for (const size of new Set([1, maxBatch])) {
        const blank = Array.from({ length: size }, () => new Float32Array(model.channels));
        const labels = (await model.classify(blank)).flat();
        if (labels.every(({ probability }) => Number.isFinite(probability))) continue;
        const message = 'the labeler gives NaN probabilities for blank features';
        throw new DomainError('DATA_LOSS', 'MODEL_BROKEN', message);
      }
      return model;
    });
  }

  /** One run for all images, `channels` pooled features each; for each the labels in their order. */
  async classify(
    features: readonly Float32Array[],
    signal?: AbortSignal,
  ): Promise<readonly (readonly LabelDecision[])[]> {
    const data = new Float32Array(features.length * this.channels);
    for (const [index, values] of features.entries()) data.set(values, index * this.channels);
    const pooled: Tensor = { dtype: 'float32', shape: [features.length, this.channels], data };
    const options = { transfer: true, ...(signal !== undefined && { signal }) };
    const { fetched } = await this.#session.run({ pooled }, options);
    const logits = fetched['logits']?.data as Float32Array;
    const count = observations.length;
    return features.map((_, row) =>
      decideLabels(logits.subarray(row * count, (row + 1) * count), this.manifest.labels),
    );
  }

  dispose(): Promise<void> {
    return this.#backend.dispose();
  }
}
