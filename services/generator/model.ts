import { join } from 'node:path';
import { DomainError } from '../../lib/errors.ts';
import type { BackendOptions } from '../../lib/runtime/backend.ts';
import {
  type Generator,
  type GeneratorQueue,
  type GeneratorRun,
  createGenerator,
} from '../../lib/runtime/decode/generator.ts';
import { parseDecodingOptions } from '../../lib/releases/decoding.ts';
import type { Model } from '../../lib/releases/holder.ts';
import { loadWarmed } from '../../lib/runtime/warm.ts';
import { type Tokenizer, loadTokenizer } from '../../lib/text/tokenizer.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import type { OpenedRelease } from '../../lib/releases/store/store.ts';

export interface GeneratorModelOptions {
  readonly backend: BackendOptions;
  /** Rows of the running batch. */
  readonly maxRows: number;
  /** Where requests wait for rows; default: a queue of its own. */
  readonly queue?: GeneratorQueue;
  readonly onRun: (run: GeneratorRun) => void;
}

/** The generator part of a release: fusion encoder, decoder, and both tokenizers. */
export class GeneratorModel implements Model {
  readonly manifest: Manifest;
  readonly generator: Generator;
  readonly encoderTokenizer: Tokenizer;
  readonly decoderTokenizer: Tokenizer;
  /** [N, C] of the visual tokens that its encoder takes. */
  readonly tokensShape: readonly [number, number];
  readonly #end: () => Promise<void>;

  private constructor(
    { manifest, folder }: OpenedRelease,
    generator: Generator,
    end: () => Promise<void>,
  ) {
    this.manifest = manifest;
    this.generator = generator;
    this.#end = end;
    this.encoderTokenizer = tokenizerOf(manifest, folder, 'encoder-tokenizer.json');
    this.decoderTokenizer = tokenizerOf(manifest, folder, 'decoder-tokenizer.json');
    this.tokensShape = generator.tokensShape;
  }

  /** Loads into a worker of its own, and warms up by generating a few tokens for a blank image. */
  static async load(
    release: OpenedRelease,
    { backend: backendOptions, maxRows, queue, onRun }: GeneratorModelOptions,
  ): Promise<GeneratorModel> {
    const { folder, manifest } = release;
    let warm = false;
    return loadWarmed(backendOptions, async (backend) => {
      const generator = await createGenerator({
        backend,
        folder,
        preset: manifest.preset,
        maxRows,
        ...(queue && { queue }),
        onRun: (run) => {
          if (warm) onRun(run);
        },
      });
      const model = new GeneratorModel(release, generator, async () => {
        await generator.dispose();
        await backend.dispose();
      });
      await model.#warm(maxRows);
      warm = true;
      return model;
    });
  }

  dispose(): Promise<void> {
    return this.#end();
  }

  async #warm(rows: number): Promise<void> {
    const [tokens, channels] = this.tokensShape;
    const options = parseDecodingOptions({ minTokens: 3, maxTokens: 4 });
    const blank = Array.from({ length: rows }, () =>
      this.generator.generate(
        {
          tokens: {
            dtype: 'float32',
            shape: this.tokensShape,
            data: new Float32Array(tokens * channels),
          },
          textIds: [],
        },
        options,
      ),
    );
    for (const { logProbs } of await Promise.all(blank)) {
      if (logProbs.every((logProb) => Number.isFinite(logProb))) continue;
      const message = 'the decoder gives NaN or infinite log-probabilities for a blank image';
      throw new DomainError('DATA_LOSS', 'MODEL_BROKEN', message);
    }
  }
}

/** By the digest of its file: releases often share them, and reading one blocks other requests. */
const tokenizers = new Map<string, Tokenizer>();
const maxTokenizers = 8;

function tokenizerOf({ files }: Manifest, folder: string, name: string): Tokenizer {
  const digest = files[name]!.sha256;
  const tokenizer = tokenizers.get(digest) ?? loadTokenizer(join(folder, name));
  tokenizers.delete(digest);
  tokenizers.set(digest, tokenizer);
  const [oldest] = tokenizers.keys();
  if (tokenizers.size > maxTokenizers && oldest !== undefined) tokenizers.delete(oldest);
  return tokenizer;
}
