/**
 * The 14 CheXpert observations of a report, by rules: find mentions, decide the state of each by the
 * words around it, aggregate. The intended behaviour is that of the CheXpert labeler (Irvin et al. 2019,
 * arXiv:1901.07031), which uses a parse tree; here a cue reaches over the words next to it.
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

/** `No Finding` has the rules of abnormalities that have no label of their own. */
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

const everywhere = (patterns: readonly RegExp[] = []) => new RegExp(anyOf(patterns), 'g');

const patterns = observations.map((observation) => {
  const { mentions, signs, structures, unmentions } = rules[observation];
  return {
    observation,
    mentions: everywhere(mentions),
    signs: everywhere(signs),
    structures: everywhere(structures),
    unmentions: everywhere(unmentions),
  };
});

/**
 * `chexpert` counts the sentences that the CheXpert labeler is known to misread as a finding
 * (misreadings.ts) as it does; `plain` reads them correctly.
 */
export type Reading = 'chexpert' | 'plain';

interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Mention extends Span {
  readonly observation: Observation;
  readonly state: Exclude<LabelState, null>;
  /** In lower case; `start` and `end` are indices into it. */
  readonly sentence: string;
}

/**
 * The state of every observation in a report, or in any part of one: positive beats uncertain beats
 * negative. No Finding is positive if nothing but support devices is positive or uncertain, and
 * never negative; an empty text has no labels at all.
 */
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
  if (!abnormal && report.trim() !== '') labels['No Finding'] = 'positive';
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
    let cues: readonly Cues[] | undefined;
    for (const { observation, unmentions, ...kinds } of patterns) {
      const none = spans(unmentions, sentence);
      for (const kind of mentionKinds) {
        for (const span of spans(kinds[kind], sentence)) {
          if (none.some((other) => overlap(span, other))) continue;
          cues ??= findCues(sentence);
          yield { observation, ...span, sentence, state: stateOf(span, kind, sentence, cues) };
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

interface Cues {
  readonly row: CueRow;
  readonly found: readonly Span[];
}

const cuePatterns = cueRows.map((row) => ({ row, pattern: new RegExp(row.cues, 'g') }));

const findCues = (sentence: string): readonly Cues[] =>
  cuePatterns.map(({ row, pattern }) => ({ row, found: spans(pattern, sentence) }));

function stateOf(
  mention: Span,
  kind: MentionKind,
  sentence: string,
  cues: readonly Cues[],
): Mention['state'] {
  const decided = cues.find(
    ({ row, found }) =>
      (kind === 'structures' || !row.structures) && reaches(row, found, mention, sentence),
  );
  return decided?.row.state ?? (kind === 'signs' ? 'uncertain' : 'positive');
}

/** Whether the nearest cue reaches the mention: text that stops it also stops the cues beyond it. */
function reaches(
  { side, until }: CueRow,
  found: readonly Span[],
  mention: Span,
  sentence: string,
): boolean {
  if (side === 'before') {
    const cue = found.findLast(({ end }) => end <= mention.start);
    return cue !== undefined && !until.test(sentence.slice(cue.end, mention.start));
  }
  const cue = found.find(({ start }) => start >= mention.end);
  return cue !== undefined && !until.test(sentence.slice(mention.end, cue.start));
}

function spans(pattern: RegExp, text: string): readonly Span[] {
  return Array.from(text.matchAll(pattern), spanOf);
}

const spanOf = (match: RegExpExecArray): Span => ({
  start: match.index,
  end: match.index + match[0].length,
});

const overlap = (a: Span, b: Span) => a.start < b.end && b.start < a.end;
