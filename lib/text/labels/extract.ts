/**
 * The 14 CheXpert observations of a report, by rules: find mentions, decide what the words around
 * each do to it, aggregate. The behaviour sought is that of the CheXpert labeler (Irvin et al. 2019,
 * arXiv:1901.07031), which walks a parse tree; here a cue reaches over the words next to it.
 */
import { type CueRow, cueRows } from './cues.ts';
import { misreadings } from './misreadings.ts';
import { type LabelState, type Observation, observations } from './observations.ts';
import { atelectasis } from './observations/atelectasis.ts';
import { cardiomegaly } from './observations/cardiomegaly.ts';
import { consolidation } from './observations/consolidation.ts';
import { edema } from './observations/edema.ts';
import { enlargedCardiomediastinum } from './observations/enlarged-cardiomediastinum.ts';
import { fracture } from './observations/fracture.ts';
import { lungLesion } from './observations/lung-lesion.ts';
import { lungOpacity } from './observations/lung-opacity.ts';
import { otherAbnormality } from './observations/other-abnormality.ts';
import { pleuralEffusion } from './observations/pleural-effusion.ts';
import { pleuralOther } from './observations/pleural-other.ts';
import { pneumonia } from './observations/pneumonia.ts';
import { pneumothorax } from './observations/pneumothorax.ts';
import { supportDevices } from './observations/support-devices.ts';
import { anyOf, type ObservationRules } from './rules.ts';
import { splitSentences } from './sentences.ts';

/** `No Finding` stands for whatever abnormality has no label of its own. */
const rules: Readonly<Record<Observation, ObservationRules>> = {
  'No Finding': otherAbnormality,
  'Enlarged Cardiomediastinum': enlargedCardiomediastinum,
  Cardiomegaly: cardiomegaly,
  'Lung Lesion': lungLesion,
  'Lung Opacity': lungOpacity,
  Edema: edema,
  Consolidation: consolidation,
  Pneumonia: pneumonia,
  Atelectasis: atelectasis,
  Pneumothorax: pneumothorax,
  'Pleural Effusion': pleuralEffusion,
  'Pleural Other': pleuralOther,
  Fracture: fracture,
  'Support Devices': supportDevices,
};

const mentionKinds = ['mentions', 'signs', 'structures'] as const;
type MentionKind = (typeof mentionKinds)[number];

const patterns = observations.map((observation) => {
  const { mentions = [], signs = [], structures = [], unmentions = [] } = rules[observation];
  return {
    observation,
    mentions: anyOf(mentions),
    signs: anyOf(signs),
    structures: anyOf(structures),
    unmentions: anyOf(unmentions),
  };
});

/**
 * `chexpert` counts the sentences that the CheXpert labeler is known to take for a finding against
 * their sense (misreadings.ts) as it does; `plain` takes them for what they say.
 */
export type Reading = 'chexpert' | 'plain';

interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Mention extends Span {
  readonly observation: Observation;
  readonly state: Exclude<LabelState, null>;
  /** In lower case; `start` and `end` count in it. */
  readonly sentence: string;
}

/** The state of every observation in a report, or in any part of one. */
export function extractLabels(
  report: string,
  reading: Reading = 'chexpert',
): Record<Observation, LabelState> {
  const labels = emptyLabels();
  let abnormal = false;
  for (const { observation, state, sentence, start, end } of findMentions(report, reading)) {
    if (observation !== 'Support Devices' && state !== 'negative') abnormal = true;
    if (observation === 'No Finding') continue;
    labels[observation] = stronger(labels[observation], state);
    if (state !== 'negative' && impliesCardiomegaly.test(sentence.slice(start, end))) {
      labels.Cardiomegaly = stronger(labels.Cardiomegaly, 'uncertain');
    }
  }
  if (!abnormal) labels['No Finding'] = 'positive';
  return labels;
}

const impliesCardiomegaly = /^(?:heart failure|chf)$/;

const emptyLabels = () =>
  Object.fromEntries(observations.map((name) => [name, null])) as Record<Observation, LabelState>;

const strength: readonly LabelState[] = [null, 'negative', 'uncertain', 'positive'];

function stronger(a: LabelState, b: LabelState): LabelState {
  return strength.indexOf(a) > strength.indexOf(b) ? a : b;
}

/** Every mention of an observation, in the order of the text; `No Finding` as in `rules`. */
export function* findMentions(report: string, reading: Reading = 'chexpert'): Generator<Mention> {
  for (const sentence of splitSentences(report)) {
    for (const { observation, unmentions, ...kinds } of patterns) {
      const none = spans(unmentions, sentence);
      for (const kind of mentionKinds) {
        for (const span of spans(kinds[kind], sentence)) {
          if (none.some((other) => overlap(span, other))) continue;
          yield { observation, ...span, sentence, state: stateOf(span, sentence, kind) };
        }
      }
    }
    if (reading === 'plain') continue;
    for (const [observation, pattern] of misreadings) {
      const match = pattern.exec(sentence);
      if (match) yield { observation, ...spanOf(match), sentence, state: 'positive' };
    }
  }
}

function stateOf(mention: Span, sentence: string, kind: MentionKind): Mention['state'] {
  const row = cueRows.find(
    (row) => (kind === 'structures' || !row.structures) && reaches(row, mention, sentence),
  );
  return row?.state ?? (kind === 'signs' ? 'uncertain' : 'positive');
}

function reaches({ cues, side, until }: CueRow, mention: Span, sentence: string): boolean {
  return spans(cues, sentence).some((cue) =>
    side === 'before'
      ? cue.end <= mention.start && !until.test(sentence.slice(cue.end, mention.start))
      : cue.start >= mention.end && !until.test(sentence.slice(mention.end, cue.start)),
  );
}

function spans(pattern: RegExp, text: string): readonly Span[] {
  return Array.from(text.matchAll(pattern), spanOf);
}

const spanOf = (match: RegExpExecArray): Span => ({
  start: match.index,
  end: match.index + match[0].length,
});

const overlap = (a: Span, b: Span) => a.start < b.end && b.start < a.end;
