import { invalidArgument } from '../../lib/errors.ts';
import type { Tensor } from '../../lib/graph/types.ts';
import { promptIds } from '../../lib/inference/prompt.ts';
import type { Generated, GeneratorQueue } from '../../lib/runtime/decode/generator.ts';
import { type DecodingInput, parseDecodingOptions } from '../../lib/releases/decoding.ts';
import { Admission } from '../../lib/runtime/admission.ts';
import type { Priority } from '../../lib/runtime/request-queue.ts';
import { queueObserver, watchQueues } from '../../lib/telemetry/queue.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { StageTimer } from '../../lib/telemetry/stage-timer.ts';
import type { GeneratorConfig } from './config.ts';
import type { GeneratorModel } from './model.ts';

/** A request for one report. */
export interface WriteItem {
  readonly model: GeneratorModel;
  /** Visual tokens, of the model's shape. */
  readonly tokens: Tensor<'float32'>;
  /** Labels or indication. */
  readonly text: string;
  /** Overrides the release's decoding options. */
  readonly decoding: DecodingInput;
  readonly priority: Priority;
  /** Fires when the caller leaves: the request takes no further step. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
  /** Called with text that no later token changes, and the tokens so far. */
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

const maxTextCharacters = 10_000;

/** Admits requests; the generators of the releases take them when rows of their batches are free. */
export class ReportWriter {
  readonly #telemetry: Telemetry;
  readonly #admission: Admission;

  /** `queue` is what the generators take requests from. */
  constructor(config: GeneratorConfig, telemetry: Telemetry, queue: GeneratorQueue) {
    const { metrics } = telemetry;
    this.#telemetry = telemetry;
    this.#admission = new Admission({
      maxRequests: config.queueLimit,
      maxBytes: config.queueBytes,
      observer: queueObserver(metrics),
    });
    watchQueues(metrics, this.#admission, [queue]);
  }

  /**
   * Throws INVALID_ARGUMENT naming `text` or an option, RESOURCE_EXHAUSTED when full, CANCELLED or
   * DEADLINE_EXCEEDED when its caller has left.
   */
  async write(item: WriteItem, timer: StageTimer): Promise<Written> {
    const { model, text, decoding, tokens, priority } = item;
    if (text.length > maxTextCharacters) {
      const message = `has ${text.length} characters, expected at most ${maxTextCharacters}`;
      throw invalidArgument('TEXT_TOO_LONG', 'text', message);
    }
    const options = parseDecodingOptions({ ...model.manifest.decoding, ...decoding });
    const textIds = promptIds(model.encoderTokenizer, text, model.manifest.preset);
    using _permit = this.#admission.acquire(tokens.data.byteLength, priority);
    return await this.#write(item, options, textIds, timer);
  }

  /** Refuses new requests and finishes the admitted ones. */
  close(): Promise<void> {
    return this.#admission.close();
  }

  async #write(
    { model, tokens, priority, signal, deadline, onText }: WriteItem,
    options: ReturnType<typeof parseDecodingOptions>,
    textIds: readonly number[],
    timer: StageTimer,
  ): Promise<Written> {
    const pieces = model.decoderTokenizer.streamDecoder();
    let sent = '';
    let firstMs = 0;
    const generated = await model.generator.generate({ tokens, textIds }, options, {
      priority,
      signal,
      deadline,
      onToken: ({ id, index }) => {
        if (index === 0) firstMs = performance.now();
        const piece = pieces.push(id);
        sent += piece;
        if (piece !== '') onText(piece, index + 1);
      },
    });
    const text = model.decoderTokenizer.decode(generated.ids as number[]);
    // What the stream decoder held back, so that the deltas together are the text.
    const rest = text.slice(sent.length);
    if (rest !== '') onText(rest, generated.ids.length);
    this.#observe(model, generated, { textTokens: textIds.length, firstMs }, timer);
    return writtenOf(generated, text, textIds.length);
  }

  #observe(
    { manifest, tokensShape }: GeneratorModel,
    { ids, timings }: Generated,
    { textTokens, firstMs }: { readonly textTokens: number; readonly firstMs: number },
    timer: StageTimer,
  ): void {
    const { metrics } = this.#telemetry;
    const { variant } = manifest;
    const endMs = performance.now();
    const decodeMs = endMs - timings.decodeMs;
    const prefillMs = decodeMs - timings.prefillMs;
    timer.add('queue', timer.startMs, prefillMs);
    timer.add('prefill', prefillMs, decodeMs);
    timer.add('generate', decodeMs, endMs);
    metrics.tokens.inc({ kind: 'image' }, tokensShape[0]);
    metrics.tokens.inc({ kind: 'text' }, textTokens);
    metrics.tokens.inc({ kind: 'generated' }, ids.length);
    if (firstMs === 0) return;
    timer.mark('first_token', timer.startMs, firstMs);
    timer.within(() => {
      metrics.firstToken.observe({ variant }, (firstMs - timer.startMs) / 1000);
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
