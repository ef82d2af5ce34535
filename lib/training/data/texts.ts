import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../../data/files.ts';
import { invalidArgument } from '../../errors.ts';
import type { Preset } from '../../models/preset.ts';
import { closeText, isLabelVariant } from '../../models/variants.ts';
import { labelText } from '../../text/labels/label-text.ts';
import { type LabelState, observations } from '../../text/labels/observations.ts';
import { joinReport } from '../../text/report-text.ts';
import {
  type Tokenizer,
  loadTokenizer,
  trainUnigram,
  trainWordPiece,
} from '../../text/tokenizer.ts';
import { writeAtomically } from '../../atomic.ts';
import type { TrainingConfig } from '../config.ts';
import type { Prepared, PreparedStudy } from './prepared.ts';

export const reportOf = (study: PreparedStudy): string => joinReport(study);

const labelsOf = (labels: readonly LabelState[]): string =>
  labelText(Object.fromEntries(observations.map((name, i) => [name, labels[i] ?? null])));

/** T5's pad token, which also starts a sequence, and its end. */
const [start, end] = [0, 1];

/** The tokens of the studies: what the encoder reads, and what the decoder must generate. */
export interface Texts {
  readonly encoder: Tokenizer;
  readonly decoder: Tokenizer;
  /** The text part of the joint stream, closed by [SEP]. */
  encoderIds(study: PreparedStudy): readonly number[];
  /** What the decoder reads, beginning with the start token, and its targets, eos last. */
  decoderIds(study: PreparedStudy): {
    readonly reads: readonly number[];
    readonly answers: readonly number[];
  };
}

export const tokenizerFiles = {
  encoder: 'encoder-tokenizer.json',
  decoder: 'decoder-tokenizer.json',
} as const;

/**
 * The tokenizers of a run, in its folder: those the config names, or new ones trained on the reports of
 * the training split. Throws VOCABULARY_TOO_LARGE where the preset has fewer rows than tokens.
 */
export async function makeTokenizers(
  folder: string,
  { train }: Prepared['splits'],
  { tokenizers }: TrainingConfig,
  { fusion, t5 }: Preset,
): Promise<void> {
  const makers = {
    encoder: () =>
      trainWordPiece(
        train.flatMap((study) => [labelsOf(study.labels), study.indication, reportOf(study)]),
        fusion.vocabulary,
      ),
    decoder: () => trainUnigram(train.map(reportOf), t5.vocabulary),
  };
  const rows = { encoder: fusion.vocabulary, decoder: t5.vocabulary };
  for (const which of ['encoder', 'decoder'] as const) {
    const path = join(folder, tokenizerFiles[which]);
    if (!(await exists(path))) {
      const given = tokenizers[which];
      const json = given === null ? JSON.stringify(makers[which]()) : await readFile(given, 'utf8');
      await writeAtomically(path, async (file) => file.writeFile(json));
    }
    const size = loadTokenizer(path).vocabularySize;
    if (size <= rows[which]) continue;
    const message = `has ${size} tokens, the preset's vocabulary has ${rows[which]}`;
    throw invalidArgument('VOCABULARY_TOO_LARGE', `tokenizers.${which}`, message);
  }
}

export function loadTexts(
  folder: string,
  config: Pick<TrainingConfig, 'variant' | 'indication'>,
  preset: Preset,
): Texts {
  const encoder = loadTokenizer(join(folder, tokenizerFiles.encoder));
  const decoder = loadTokenizer(join(folder, tokenizerFiles.decoder));
  const textOf = (study: PreparedStudy): string => {
    if (isLabelVariant(config.variant)) return labelsOf(study.labels);
    return config.indication === 'given' ? study.indication : '';
  };
  return {
    encoder,
    decoder,
    encoderIds: remember((study) => closeText(encoder.encode(textOf(study)), preset)),
    decoderIds: remember((study) => {
      const ids = decoder.encode(reportOf(study)).slice(0, preset.maxReportTokens - 1);
      return { reads: [start, ...ids], answers: [...ids, end] };
    }),
  };
}

/** By the study itself, not its id: the same study may come again with other labels. */
function remember<T>(work: (study: PreparedStudy) => T): (study: PreparedStudy) => T {
  const known = new WeakMap<PreparedStudy, { readonly value: T }>();
  return (study) => {
    const found = known.get(study) ?? { value: work(study) };
    known.set(study, found);
    return found.value;
  };
}
