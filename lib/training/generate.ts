import type { LabelDecision } from '../inference/labels.ts';
import { promptIds, promptText } from '../inference/prompt.ts';
import type { Preset } from '../models/preset.ts';
import { type VariantName, isLabelVariant } from '../models/names.ts';
import { type DecodingOptions, rowsOf } from '../releases/decoding.ts';
import type { Backend } from '../runtime/backend.ts';
import { type GenerateRequest, createGenerator } from '../runtime/decode/generator.ts';
import { type Evaluation, evaluateReports } from '../text/metrics/evaluate.ts';
import type { TrainingConfig } from './config.ts';
import type { PreparedStudy } from './data/prepared.ts';
import { type Texts, reportOf } from './data/texts.ts';
import type { Features } from './embed.ts';

/** The scores of generated reports that validation reads (the paper's figures 2 and 3). */
export interface GeneratedScores {
  readonly bleu4: number;
  readonly rougeL: number;
  readonly pooledF1: number;
  readonly clinicalF1: number;
}

/** How a study becomes a request to the generator. */
interface RequestOptions {
  readonly variant: VariantName;
  readonly preset: Preset;
  readonly texts: Pick<Texts, 'encoder'>;
  readonly indication: TrainingConfig['indication'];
}

export interface WriteOptions extends RequestOptions {
  readonly backend: Backend;
  /** Holds encoder.onnx and decoder.onnx. */
  readonly folder: string;
  readonly texts: Texts;
  readonly decoding: DecodingOptions;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** A study with what vision and labeler decided about its image. */
export interface Subject {
  readonly study: PreparedStudy;
  /** With tokens. */
  readonly features: Features;
  readonly labels: readonly LabelDecision[];
}

/** The request that the generator service would get for this study. */
export function requestOf(
  { study, features, labels }: Subject,
  { variant, preset, texts, indication }: RequestOptions,
): GenerateRequest {
  const { tokens } = features;
  if (!tokens) throw new RangeError(`study ${study.id} was embedded without its tokens`);
  const text = promptText(
    isLabelVariant(variant),
    labels,
    indication === 'given' ? study.indication : '',
  );
  return { tokens, textIds: promptIds(texts.encoder, text, preset) };
}

/** Writes the reports of some studies as serving would, each from its image alone. */
export async function writeReports(
  subjects: readonly Subject[],
  options: WriteOptions,
): Promise<string[]> {
  const { backend, folder, preset, texts, decoding, signal, onProgress } = options;
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
      subjects.map(async (subject) => {
        const request = requestOf(subject, options);
        const { ids } = await generator.generate(request, decoding, signal ? { signal } : {});
        onProgress?.(++done, subjects.length);
        return texts.decoder.decode(ids.map(Number));
      }),
    );
  } finally {
    await generator.dispose();
  }
}

/** All metrics of some reports against those of their studies. */
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
