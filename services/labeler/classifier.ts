import { type Batch, BatchQueue, type Priority } from '../../lib/runtime/queue.ts';
import { queueObserver, watchQueues } from '../../lib/telemetry/queue.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { Timeline } from '../../lib/telemetry/timeline.ts';
import { inBatchSpan } from '../../lib/telemetry/tracing.ts';
import type { LabelerConfig } from './config.ts';
import type { Label, LabelerModel } from './model.ts';

/** One embedding on its way. */
export interface ClassifyItem {
  readonly model: LabelerModel;
  readonly pooled: Float32Array;
  readonly timeline: Timeline;
}

export interface Place {
  readonly priority: Priority;
  /** Fires when nobody wants the answer any more. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
}

/** Admits, and classifies in batches. */
export class Classifier {
  readonly #telemetry: Telemetry;
  readonly #queue: BatchQueue<ClassifyItem, readonly Label[]>;

  constructor(config: LabelerConfig, telemetry: Telemetry) {
    this.#telemetry = telemetry;
    this.#queue = new BatchQueue({
      maxRequests: config.queueLimit,
      maxBytes: config.queueBytes,
      maxBatch: config.maxBatch,
      maxDelayMs: config.batchDelayMs,
      run: (batch) => this.#run(batch),
      observer: queueObserver(telemetry.metrics, { batches: true }),
    });
    watchQueues(telemetry.metrics, this.#queue, [this.#queue]);
  }

  /**
   * All labels in their order. Throws RESOURCE_EXHAUSTED when full, CANCELLED or DEADLINE_EXCEEDED
   * when its caller has left.
   */
  classify(item: ClassifyItem, { priority, signal, deadline }: Place): Promise<readonly Label[]> {
    return this.#queue.submit(item, {
      key: item.model.manifest.id,
      bytes: item.pooled.byteLength,
      priority,
      signal,
      deadline,
    });
  }

  /** Ends what was admitted. */
  close(): Promise<void> {
    return this.#queue.close();
  }

  async #run({ items, waitedMs, signal }: Batch<ClassifyItem>) {
    const startMs = performance.now();
    for (const [index, { timeline }] of items.entries()) {
      timeline.add('queue', startMs - waitedMs[index]!, startMs);
    }
    const spans = items.map(({ timeline }) => timeline.span);
    const labels = await inBatchSpan(this.#telemetry.tracer, 'labeler batch', spans, () =>
      items[0]!.model.classify(
        items.map(({ pooled }) => pooled),
        signal,
      ),
    );
    const endMs = performance.now();
    for (const { timeline } of items) timeline.add('inference', startMs, endMs);
    return labels;
  }
}
