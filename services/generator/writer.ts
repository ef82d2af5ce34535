import { invalidArgument } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import type { Generated } from '../../lib/runtime/decode/generator.ts';
import { type DecodingInput, parseDecodingOptions } from '../../lib/releases/decoding.ts';
import { BatchQueue, type Priority } from '../../lib/runtime/queue.ts';
import { queueObserver, watchQueues } from '../../lib/telemetry/queue.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { Timeline } from '../../lib/telemetry/timeline.ts';
import type { GeneratorConfig } from './config.ts';
import type { GeneratorModel } from './model.ts';

/** One report on its way. */
export interface WriteItem {
  readonly model: GeneratorModel;
  /** Visual tokens, of the model's shape. */
  readonly tokens: Tensor<'float32'>;
  /** Labels or indication. */
  readonly text: string;
  /** What the caller says of decoding; the rest is the release's. */
  readonly decoding: DecodingInput;
  readonly priority: Priority;
  /** Fires when nobody wants the answer any more: the next step is without it. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
  /** Text as it becomes certain, and the tokens so far. */
  readonly onText: (text: string, tokens: number) => void;
}

export interface Written {
  readonly text: string;
  readonly finishReason: Generated['finishReason'];
  /** The end token included. */
  readonly generatedTokens: number;
  readonly textTokens: number;
  readonly steps: number;
  readonly meanLogProbability: number;
}

const mostTextCharacters = 10_000;

/** Admits, and lets requests into the running batch, which they share a step at a time. */
export class ReportWriter {
  readonly #telemetry: Telemetry;
  readonly #queue: BatchQueue<() => Promise<Written>, Written>;

  constructor(config: GeneratorConfig, telemetry: Telemetry) {
    this.#telemetry = telemetry;
    this.#queue = new BatchQueue({
      maxRequests: config.queueLimit,
      maxBytes: config.queueBytes,
      concurrency: config.maxBatch,
      run: async ({ items }) => Promise.all(items.map((work) => work())),
      observer: queueObserver(telemetry.metrics),
    });
    watchQueues(telemetry.metrics, this.#queue, [this.#queue]);
  }

  /**
   * Throws INVALID_ARGUMENT naming `text` or an option, RESOURCE_EXHAUSTED when full, CANCELLED or
   * DEADLINE_EXCEEDED when its caller has left.
   */
  async write(item: WriteItem, timeline: Timeline): Promise<Written> {
    const { model, text, decoding, tokens, priority, signal, deadline } = item;
    if (text.length > mostTextCharacters) {
      const message = `has ${text.length} characters, at most ${mostTextCharacters} are taken`;
      throw invalidArgument('TEXT_TOO_LONG', 'text', message);
    }
    const options = parseDecodingOptions({ ...model.manifest.decoding, ...decoding });
    const { maxTextTokens } = model.manifest.preset;
    const textIds = model.encoderTokenizer.encode(text).slice(0, maxTextTokens);
    const work = (): Promise<Written> => this.#write(item, options, textIds, timeline);
    return this.#queue.submit(work, {
      bytes: tokens.data.byteLength,
      priority,
      signal,
      deadline,
    });
  }

  /** Ends what was admitted. */
  close(): Promise<void> {
    return this.#queue.close();
  }

  async #write(
    { model, tokens, signal, onText }: WriteItem,
    options: ReturnType<typeof parseDecodingOptions>,
    textIds: readonly number[],
    timeline: Timeline,
  ): Promise<Written> {
    const pieces = model.decoderTokenizer.streamDecoder();
    let sent = '';
    let firstMs = 0;
    const generated = await model.generator.generate({ tokens, textIds }, options, {
      signal,
      onToken: ({ id, index }) => {
        if (index === 0) firstMs = performance.now();
        const piece = pieces.push(id);
        sent += piece;
        if (piece !== '') onText(piece, index + 1);
      },
    });
    const text = model.decoderTokenizer.decode(generated.ids as number[]);
    // What the deltas left out, so that together they are the text.
    const rest = text.slice(sent.length);
    if (rest !== '') onText(rest, generated.ids.length);
    this.#observe(model, generated, { textTokens: textIds.length, firstMs }, timeline);
    return writtenOf(generated, text, textIds.length);
  }

  #observe(
    { manifest, tokensShape }: GeneratorModel,
    { ids, timings }: Generated,
    { textTokens, firstMs }: { readonly textTokens: number; readonly firstMs: number },
    timeline: Timeline,
  ): void {
    const { metrics } = this.#telemetry;
    const { variant } = manifest;
    const endMs = performance.now();
    const decodeMs = endMs - timings.decodeMs;
    const prefillMs = decodeMs - timings.prefillMs;
    timeline.add('queue', timeline.startMs, prefillMs);
    timeline.add('prefill', prefillMs, decodeMs);
    timeline.add('generate', decodeMs, endMs);
    metrics.tokens.inc({ kind: 'image' }, tokensShape[0]);
    metrics.tokens.inc({ kind: 'text' }, textTokens);
    metrics.tokens.inc({ kind: 'generated' }, ids.length);
    if (firstMs === 0) return;
    timeline.mark('first_token', timeline.startMs, firstMs);
    timeline.within(() => {
      metrics.firstToken.observe({ variant }, (firstMs - timeline.startMs) / 1000);
      if (ids.length < 2) return;
      metrics.perToken.observe({ variant }, (endMs - firstMs) / 1000 / (ids.length - 1));
    });
  }
}

function writtenOf(
  { ids, logProbs, finishReason, steps }: Generated,
  text: string,
  textTokens: number,
): Written {
  const sum = logProbs.reduce((sum, logProb) => sum + logProb, 0);
  return {
    text,
    finishReason,
    generatedTokens: ids.length + (finishReason === 'eos' ? 1 : 0),
    textTokens,
    steps,
    meanLogProbability: logProbs.length === 0 ? 0 : sum / logProbs.length,
  };
}
