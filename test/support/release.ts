import { planStudy } from '../../lib/data/phantom/study.ts';
import { imagenet } from '../../lib/image/preprocess.ts';
import { initialTensor } from '../../lib/models/init.ts';
import { loadPreset } from '../../lib/models/preset.ts';
import { type VariantName, variantParameters } from '../../lib/models/variants.ts';
import { type DecodingInput, parseDecodingOptions } from '../../lib/releases/decoding.ts';
import { joinReport } from '../../lib/text/report-text.ts';
import { trainUnigram, trainWordPiece } from '../../lib/text/tokenizer.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import { writeRelease } from '../../lib/releases/write.ts';

const demo = loadPreset('demo');

const corpus = Array.from({ length: 60 }, (_, index) => {
  const { report } = planStudy({ seed: 5, size: 32 }, index);
  return joinReport(report);
});
let tokenizers: { readonly encoder: object; readonly decoder: object } | undefined;

/**
 * Writes a release of the demo preset with random weights into an empty folder. Other seeds, other
 * releases. Its reports are nonsense, but the same for the same request.
 */
export function writeRandomRelease(
  folder: string,
  variant: VariantName,
  {
    seed = 1,
    decoding = {},
    config = {},
  }: {
    readonly seed?: number;
    readonly decoding?: DecodingInput;
    readonly config?: Record<string, never>;
  } = {},
): Promise<Manifest> {
  tokenizers ??= {
    encoder: trainWordPiece(corpus, demo.fusion.vocabulary),
    decoder: trainUnigram(corpus, demo.t5.vocabulary),
  };
  const size = demo.imageSize;
  return writeRelease(folder, {
    variant,
    preset: demo,
    preprocessing: {
      height: size,
      width: size,
      resize: 'cover',
      pad: 0,
      kernel: 'cubic',
      ...imagenet,
    },
    labels: { thresholds: Array<number>(14).fill(0.5), temperatures: Array<number>(14).fill(1) },
    outOfDistribution: null,
    decoding: parseDecodingOptions({ maxTokens: 12, ...decoding }),
    quantisation: 'none',
    provenance: {
      createdAt: '2026-01-01T00:00:00Z',
      dataset: { name: 'none', fingerprint: 'none', studies: {} },
      config,
      codeVersion: 'test',
      parent: null,
      seed,
      durationS: 0,
    },
    evaluation: {},
    tensors: variantParameters(variant, demo).map((spec) => {
      const { dtype, shape, data } = initialTensor(spec, seed);
      return { name: spec.name, dtype, shape, data };
    }),
    tokenizers,
  });
}
