import { Admission } from '../../lib/runtime/admission.ts';
import { type Batch, Batcher } from '../../lib/runtime/batcher.ts';
import type { Priority } from '../../lib/runtime/request-queue.ts';
import { queueObserver, watchQueues } from '../../lib/telemetry/queue.ts';
import type { StageTimer } from '../../lib/telemetry/stage-timer.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { inBatchSpan } from '../../lib/telemetry/tracing.ts';
import type { LabelerConfig } from './config.ts';
import type { LabelDecision } from '../../lib/inference/labels.ts';
import type { LabelerModel } from './model.ts';

/** A request for the labels of one embedding. */
export interface ClassifyItem {
  readonly model: LabelerModel;
  readonly pooled: Float32Array;
  readonly timer: StageTimer;
}

export interface Place {
  readonly priority: Priority;
  /** Fires when the caller leaves. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
}

/** Admits requests and classifies them in batches. */
export class Classifier {
  readonly #telemetry: Telemetry;
  readonly #admission: Admission;
  readonly #inference: Batcher<ClassifyItem, readonly LabelDecision[]>;

  constructor(config: LabelerConfig, telemetry: Telemetry) {
    this.#telemetry = telemetry;
    const { metrics } = telemetry;
    const observer = queueObserver(metrics, { batches: true });
    const { queueLimit: maxRequests, queueBytes: maxBytes } = config;
    this.#admission = new Admission({ maxRequests, maxBytes, observer });
    this.#inference = new Batcher({
      maxBatch: config.maxBatch,
      maxDelayMs: config.batchDelayMs,
      run: (batch) => this.#run(batch),
      observer,
    });
    watchQueues(metrics, this.#admission, [this.#inference]);
  }

  /**
   * All labels in their order. Throws RESOURCE_EXHAUSTED when full, CANCELLED or DEADLINE_EXCEEDED
   * when its caller has left.
   */
  async classify(item: ClassifyItem, place: Place): Promise<readonly LabelDecision[]> {
    using _permit = this.#admission.acquire(item.pooled.byteLength, place.priority);
    return await this.#inference.submit(item, { ...place, key: item.model.manifest.id });
  }

  /** Refuses new requests and finishes the admitted ones. */
  close(): Promise<void> {
    return this.#admission.close();
  }

  async #run({ items, waitedMs, signal }: Batch<ClassifyItem>) {
    const startMs = performance.now();
    for (const [index, { timer }] of items.entries()) {
      timer.add('queue', startMs - waitedMs[index]!, startMs);
    }
    const spans = items.map(({ timer }) => timer.span);
    const labels = await inBatchSpan(this.#telemetry.tracer, 'labeler batch', spans, () =>
      items[0]!.model.classify(
        items.map(({ pooled }) => pooled),
        signal,
      ),
    );
    const endMs = performance.now();
    for (const { timer } of items) timer.add('inference', startMs, endMs);
    return labels;
  }
}
