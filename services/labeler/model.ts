import { join } from 'node:path';
import { DomainError } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import type { Backend, BackendOptions, Session } from '../../lib/runtime/backend.ts';
import type { Model } from '../../lib/releases/holder.ts';
import { loadWarmed } from '../../lib/runtime/warm.ts';
import { type Observation, observations } from '../../lib/text/labels/observations.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import type { OpenedRelease } from '../../lib/releases/store/store.ts';

/** What the classifier says of one observation. */
export interface Label {
  readonly name: Observation;
  /** Calibrated, 0 to 1. */
  readonly probability: number;
  /** From where on it is positive. */
  readonly threshold: number;
  readonly state: 'positive' | 'negative';
}

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

  /** Loads into a worker of its own, and warms by classifying blank embeddings. */
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
        const message = 'the labeler answers a blank embedding with values that are no numbers';
        throw new DomainError('DATA_LOSS', 'MODEL_BROKEN', message);
      }
      return model;
    });
  }

  /** One run for all embeddings, `channels` values each; for each the labels in their order. */
  async classify(
    embeddings: readonly Float32Array[],
    signal?: AbortSignal,
  ): Promise<readonly (readonly Label[])[]> {
    const data = new Float32Array(embeddings.length * this.channels);
    for (const [index, values] of embeddings.entries()) data.set(values, index * this.channels);
    const pooled: Tensor = { dtype: 'float32', shape: [embeddings.length, this.channels], data };
    const options = { transfer: true, ...(signal !== undefined && { signal }) };
    const { fetched } = await this.#session.run({ pooled }, options);
    const logits = fetched['logits']?.data as Float32Array;
    return embeddings.map((_, row) =>
      this.#labels(logits.subarray(row * observations.length, (row + 1) * observations.length)),
    );
  }

  dispose(): Promise<void> {
    return this.#backend.dispose();
  }

  #labels(logits: Float32Array): readonly Label[] {
    const { thresholds, temperatures } = this.manifest.labels;
    return observations.map((name, index) => {
      const probability = 1 / (1 + Math.exp(-logits[index]! / temperatures[index]!));
      const threshold = thresholds[index]!;
      return {
        name,
        probability,
        threshold,
        state: probability >= threshold ? 'positive' : 'negative',
      };
    });
  }
}
