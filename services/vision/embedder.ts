import { invalidArgument } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { decodeImage } from '../../lib/image/decode.ts';
import type { DecodedImage } from '../../lib/image/decoded.ts';
import { preprocess } from '../../lib/inference/normalization.ts';
import { Admission } from '../../lib/runtime/admission.ts';
import { type Batch, Batcher } from '../../lib/runtime/batcher.ts';
import type { Priority } from '../../lib/runtime/request-queue.ts';
import { queueObserver, watchQueues } from '../../lib/telemetry/queue.ts';
import type { StageTimer } from '../../lib/telemetry/stage-timer.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { inBatchSpan } from '../../lib/telemetry/tracing.ts';
import type { VisionConfig } from './config.ts';
import type { Embedding, VisionModel } from './model.ts';

/** A request for the embedding of one image. */
export interface EmbedItem {
  readonly model: VisionModel;
  readonly bytes: Uint8Array;
  readonly priority: Priority;
  /** Fires when the caller leaves. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
}

export interface Embedded extends Embedding {
  readonly image: Omit<DecodedImage, 'pixels'>;
}

interface Encoded {
  readonly model: VisionModel;
  readonly bytes: Uint8Array;
  readonly timer: StageTimer;
}
interface Decoded {
  readonly tensor: Tensor<'float32'>;
  readonly image: Omit<DecodedImage, 'pixels'>;
}
interface Prepared {
  readonly model: VisionModel;
  readonly tensor: Tensor<'float32'>;
  readonly timer: StageTimer;
}

/**
 * Admits a request, decodes its image on the CPU, a few images at a time, and embeds it in a batch. Both
 * stages take requests in the same order, so that priority holds at each, and the next images are
 * decoded while the model runs. Admission bounds both together.
 */
export class Embedder {
  readonly #telemetry: Telemetry;
  readonly #admission: Admission;
  readonly #decoding: Batcher<Encoded, Decoded>;
  readonly #inference: Batcher<Prepared, Embedding>;

  constructor(config: VisionConfig, telemetry: Telemetry) {
    this.#telemetry = telemetry;
    const { metrics } = telemetry;
    const observer = queueObserver(metrics);
    const { queueLimit: maxRequests, queueBytes: maxBytes } = config;
    this.#admission = new Admission({ maxRequests, maxBytes, observer });
    this.#decoding = new Batcher({
      concurrency: config.decodeConcurrency,
      run: ({ items }) => Promise.all(items.map((item) => decode(item))),
      observer,
    });
    this.#inference = new Batcher({
      maxBatch: config.maxBatch,
      maxDelayMs: config.batchDelayMs,
      run: (batch) => this.#run(batch),
      observer: queueObserver(metrics, { batches: true }),
    });
    watchQueues(metrics, this.#admission, [this.#decoding, this.#inference]);
  }

  /**
   * Throws INVALID_ARGUMENT naming `image` for what cannot be decoded, RESOURCE_EXHAUSTED when full,
   * CANCELLED or DEADLINE_EXCEEDED when its caller has left.
   */
  async embed(item: EmbedItem, timer: StageTimer): Promise<Embedded> {
    const { model, bytes, ...place } = item;
    if (bytes.byteLength === 0) {
      const message = 'is empty; expected JPEG, PNG, TIFF or DICOM';
      throw invalidArgument('IMAGE_MISSING', 'image', message);
    }
    using _permit = this.#admission.acquire(bytes.byteLength, place.priority);
    const { tensor, image } = await this.#decoding.submit({ model, bytes, timer }, place);
    const prepared = { model, tensor, timer };
    const key = model.manifest.id;
    return { ...(await this.#inference.submit(prepared, { ...place, key })), image };
  }

  /** Refuses new requests and finishes the admitted ones. */
  close(): Promise<void> {
    return this.#admission.close();
  }

  async #run({ items, waitedMs, signal }: Batch<Prepared>): Promise<readonly Embedding[]> {
    const startMs = performance.now();
    for (const [index, { timer }] of items.entries()) {
      timer.add('queue', startMs - waitedMs[index]!, startMs);
    }
    const spans = items.map(({ timer }) => timer.span);
    const embeddings = await inBatchSpan(this.#telemetry.tracer, 'vision batch', spans, () =>
      items[0]!.model.embed(
        items.map(({ tensor }) => tensor),
        signal,
      ),
    );
    const endMs = performance.now();
    for (const { timer } of items) timer.add('inference', startMs, endMs);
    return embeddings;
  }
}

/** An image that cannot be decoded is the failure of its own request. */
async function decode({ model, bytes, timer }: Encoded): Promise<Decoded> {
  const { pixels, ...image } = await timer.measure('decode', () =>
    decodeImage(bytes, { field: 'image' }),
  );
  const tensor = await timer.measure('preprocess', () =>
    preprocess({ pixels, ...image }, model.manifest.preprocessing),
  );
  return { tensor, image };
}
