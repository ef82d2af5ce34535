import { planStudy } from '../../lib/data/phantom/study.ts';
import { initialTensor } from '../../lib/models/init.ts';
import { loadPreset } from '../../lib/models/preset.ts';
import { type VariantName, tokenShape, variantParameters } from '../../lib/models/variants.ts';
import { type DecodingInput, parseDecodingOptions } from '../../lib/releases/decoding.ts';
import { joinReport } from '../../lib/text/report-text.ts';
import { trainUnigram, trainWordPiece } from '../../lib/text/tokenizer.ts';
import type { Manifest, OutOfDistribution } from '../../lib/releases/manifest.ts';
import { type ReleaseDescription, writeRelease } from '../../lib/releases/write.ts';
import { unevenLabels } from './releases.ts';

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
  const description: ReleaseDescription = {
    variant,
    preset: demo,
    preprocessing: {
      height: size,
      width: size,
      resize: 'cover',
      pad: 0,
      kernel: 'cubic',
      mean: [0.31, 0.52, 0.43],
      std: [0.21, 0.27, 0.33],
    },
    labels: unevenLabels,
    outOfDistribution: unevenDistribution(tokenShape(variant, demo).channels),
    decoding: parseDecodingOptions({ maxTokens: 12, ...decoding }),
    quantization: 'none',
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
    tokenizers,
  };
  const specs = new Map(variantParameters(variant, demo).map((spec) => [spec.name, spec]));
  return writeRelease(folder, description, (name) => {
    const spec = specs.get(name);
    if (!spec) return undefined;
    const tensor = initialTensor(spec, seed);
    // Random features are small: without this every probability would be about a half.
    if (name === 'labeler.classifier.weight')
      tensor.data.forEach((x, i) => (tensor.data[i] = 8 * x));
    return tensor;
  });
}

/** A distribution whose channels all differ; images of the tests lie within it. */
const unevenDistribution = (channels: number): OutOfDistribution => ({
  mean: Array.from({ length: channels }, (_, i) => 0.3 * Math.sin(i)),
  std: Array.from({ length: channels }, (_, i) => 0.6 + 0.5 * Math.cos(i)),
  threshold: 40,
  falseAlarms: 0.02,
});
