import type { Tensor } from '../graph/types.ts';
import type { Preset } from '../models/preset.ts';
import { type VariantName, isLabelVariant } from '../models/variants.ts';
import type { Backend } from '../runtime/backend.ts';
import { createGenerator } from '../runtime/decode/generator.ts';
import { type DecodingOptions, rowsOf } from '../releases/decoding.ts';
import { type Evaluation, evaluateReports } from '../text/metrics/evaluate.ts';
import type { LabelState } from '../text/labels/observations.ts';
import { labelsOf, reportOf, type Texts } from './data/texts.ts';
import type { PreparedStudy } from './data/prepared.ts';
import type { Seen } from './see.ts';

/** The measures of free generation that validation looks at (the paper's figures 2 and 3). */
export interface GeneratedScores {
  readonly bleu4: number;
  readonly rougeL: number;
  readonly pooledF1: number;
  readonly clinicalF1: number;
}

export interface WriteOptions {
  readonly backend: Backend;
  /** Holds encoder.onnx and decoder.onnx. */
  readonly folder: string;
  readonly variant: VariantName;
  readonly preset: Preset;
  readonly texts: Texts;
  readonly indication: 'none' | 'given';
  readonly decoding: DecodingOptions;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Subject {
  readonly study: PreparedStudy;
  readonly seen: Seen;
  /** What the classifier says, which is what a label variant is told; in the order of observations. */
  readonly labels: readonly LabelState[];
}

/** Writes the reports of some studies as serving would, each from its picture alone. */
export async function writeReports(
  subjects: readonly Subject[],
  options: WriteOptions,
): Promise<string[]> {
  const { backend, folder, preset, texts, variant, decoding, signal, onProgress } = options;
  const rows = 16;
  const generator = await createGenerator({
    backend,
    folder,
    preset,
    maxRows: Math.max(rows, rowsOf(decoding)),
  });
  let done = 0;
  try {
    return await Promise.all(
      subjects.map(async ({ study, seen, labels }) => {
        const text = isLabelVariant(variant)
          ? labelsOf(labels)
          : options.indication === 'given'
            ? study.indication
            : '';
        const textIds = texts.encoder.encode(text).slice(0, preset.maxTextTokens);
        const { ids } = await generator.generate(
          { tokens: seen.tokens as Tensor, textIds },
          decoding,
          signal ? { signal } : {},
        );
        onProgress?.(++done, subjects.length);
        return texts.decoder.decode(ids.map(Number));
      }),
    );
  } finally {
    await generator.dispose();
  }
}

/** All measures of some reports against those of their studies. */
export const measure = (
  studies: readonly PreparedStudy[],
  reports: readonly string[],
  options: { readonly seed: number; readonly samples: number },
): Evaluation =>
  evaluateReports(
    studies.map((study, i) => ({ candidate: reports[i] ?? '', references: [reportOf(study)] })),
    options,
  );

export const scoresOf = ({ language, clinical14 }: Evaluation): GeneratedScores => ({
  bleu4: language.bleu4.value,
  rougeL: language.rougeL.value,
  pooledF1: language.unigramF1.value,
  clinicalF1: clinical14.microF1.value,
});
