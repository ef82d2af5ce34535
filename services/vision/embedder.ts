import { invalidArgument } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { decodeImage } from '../../lib/image/decode.ts';
import type { DecodedImage } from '../../lib/image/decoded.ts';
import { preprocess } from '../../lib/image/preprocess.ts';
import { type Batch, BatchQueue, type Priority } from '../../lib/runtime/queue.ts';
import { queueObserver, watchQueues } from '../../lib/telemetry/queue.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { Timeline } from '../../lib/telemetry/timeline.ts';
import { inBatchSpan } from '../../lib/telemetry/tracing.ts';
import type { VisionConfig } from './config.ts';
import type { Embedding, VisionModel } from './model.ts';

/** One picture on its way. */
export interface EmbedItem {
  readonly model: VisionModel;
  readonly bytes: Uint8Array;
  readonly priority: Priority;
  /** Fires when nobody wants the answer any more. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
}

export interface Embedded extends Embedding {
  readonly image: Omit<DecodedImage, 'pixels'>;
}

interface Prepared {
  readonly model: VisionModel;
  readonly tensor: Tensor<'float32'>;
  readonly timeline: Timeline;
}
interface Decoded {
  readonly tensor: Tensor<'float32'>;
  readonly image: Omit<DecodedImage, 'pixels'>;
}

/**
 * Admits, decodes a few at a time, and embeds in batches. Admission bounds what is here as a whole,
 * from the arrival of a request to its answer; within it the decoders and the model have lines of their
 * own, so that the next pictures are decoded while the model runs.
 */
export class Embedder {
  readonly #telemetry: Telemetry;
  readonly #admission: BatchQueue<() => Promise<Embedded>, Embedded>;
  readonly #decoding: BatchQueue<() => Promise<Decoded>, Decoded>;
  readonly #inference: BatchQueue<Prepared, Embedding>;

  constructor(config: VisionConfig, telemetry: Telemetry) {
    this.#telemetry = telemetry;
    const { queueLimit: maxRequests, queueBytes: maxBytes } = config;
    const { maxBatch, batchDelayMs: maxDelayMs, decodeConcurrency: concurrency } = config;
    const observer = queueObserver(telemetry.metrics);
    this.#admission = new BatchQueue({
      maxRequests,
      maxBytes,
      concurrency: maxRequests,
      run: async ({ items }) => Promise.all(items.map((work) => work())),
      observer,
    });
    // What was admitted finds room.
    const room = { maxRequests: 2 * maxRequests, maxBytes: Number.MAX_SAFE_INTEGER };
    this.#decoding = new BatchQueue({
      ...room,
      concurrency,
      run: async ({ items }) => Promise.all(items.map((work) => work())),
      observer,
    });
    this.#inference = new BatchQueue({
      ...room,
      maxBatch,
      maxDelayMs,
      run: (batch) => this.#run(batch),
      observer: queueObserver(telemetry.metrics, { batches: true }),
    });
    watchQueues(telemetry.metrics, this.#admission, [this.#decoding, this.#inference]);
  }

  /**
   * Throws INVALID_ARGUMENT naming `image` for what cannot be decoded, RESOURCE_EXHAUSTED when full,
   * CANCELLED or DEADLINE_EXCEEDED when its caller has left.
   */
  embed(item: EmbedItem, timeline: Timeline): Promise<Embedded> {
    const { bytes, priority, signal, deadline } = item;
    if (bytes.byteLength === 0) {
      throw invalidArgument(
        'IMAGE_MISSING',
        'image',
        'is empty; expected JPEG, PNG, TIFF or DICOM',
      );
    }
    const place = { priority, signal, deadline };
    const work = (): Promise<Embedded> => this.#embed(item, timeline, place);
    return this.#admission.submit(work, { ...place, bytes: bytes.byteLength });
  }

  /** Ends what was admitted. */
  async close(): Promise<void> {
    for (const queue of [this.#admission, this.#decoding, this.#inference]) await queue.close();
  }

  async #embed(
    { model, bytes }: EmbedItem,
    timeline: Timeline,
    place: { readonly priority: Priority; readonly signal: AbortSignal },
  ): Promise<Embedded> {
    const { id, preprocessing } = model.manifest;
    const decode = async (): Promise<Decoded> => {
      const { pixels, ...image } = await timeline.measure('decode', () =>
        decodeImage(bytes, { field: 'image' }),
      );
      const tensor = await timeline.measure('preprocess', () =>
        preprocess({ pixels, ...image }, preprocessing),
      );
      return { tensor, image };
    };
    const { tensor, image } = await this.#decoding.submit(decode, place);
    const prepared = { model, tensor, timeline };
    const embedding = await this.#inference.submit(prepared, { ...place, key: id });
    return { ...embedding, image };
  }

  async #run({ items, waitedMs, signal }: Batch<Prepared>): Promise<readonly Embedding[]> {
    const startMs = performance.now();
    for (const [index, { timeline }] of items.entries()) {
      timeline.add('queue', startMs - waitedMs[index]!, startMs);
    }
    const spans = items.map(({ timeline }) => timeline.span);
    const embeddings = await inBatchSpan(this.#telemetry.tracer, 'vision batch', spans, () =>
      items[0]!.model.embed(
        items.map(({ tensor }) => tensor),
        signal,
      ),
    );
    const endMs = performance.now();
    for (const { timeline } of items) timeline.add('inference', startMs, endMs);
    return embeddings;
  }
}
