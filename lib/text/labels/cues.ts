import { anyOf } from './rules.ts';

/**
 * The words that negate or hedge a mention, and how far they reach. Rows are tried in order; the first
 * that reaches a mention decides its state, and a mention that none reaches is positive. The order is
 * that of CheXpert: hedges of a negation ("cannot exclude"), negations, hedges.
 */
export interface CueRow {
  readonly state: 'negative' | 'uncertain';
  /** Where the cue stands, seen from the mention. */
  readonly side: 'before' | 'after';
  /** Made by `anyOf`. */
  readonly cues: RegExp;
  /** What may not stand between cue and mention. */
  readonly until: RegExp;
  /** Only for words that name a structure ("heart size"), not an abnormality. */
  readonly structures?: true;
}

const clause = String.raw`[;:]|, otherwise|\b(?:but|however|although|though|except|whereas|while|which|because|there (?:is|are|has|have|may))\b`;
const verb = String.raw`\b(?:is|are|was|were|has|have|had|remains?|appears?|demonstrates?|shows?|seen|noted)\b`;
/** After a comma, the start of another finding and not the next member of a list. */
const another = String.raw`, (?:and )?(?:small|mild|minimal|moderate|severe|stable|unchanged|persistent|chronic|old|prior|increas|worsen|improv|heart|cardiac|mediastin|right|left|lungs?|with|suggest|probabl|possibl)`;
const enlarged = String.raw`\b(?:(?<!not (?:\w+ )?)enlarged|enlargement|large|prominen\w+|widen\w+|tortuous|torturous)\b`;

const forward = new RegExp(`${clause}|${verb}|${another}|\\bwith\\b`);
const hedging = new RegExp(
  `${clause}|${another}|\\b(?:with(?:out)?|as|suggest\\w+|compatible|consistent|representing)\\b`,
);
/** After the only comma, words that end no list: another subject, with a predicate of its own. */
const anotherSubject = String.raw`^[^,]*, (?![^,]*\b(?:and|or)\b)[^, ]+ [^,]*$`;
const backward = new RegExp(`${clause}|${verb}|${enlarged}|${anotherSubject}`);
/** A noun that another one follows, unjoined: the phrase has ended, though its comma was forgotten. */
const phraseEnd = String.raw`\b(?:heart size|silhouettes?|contours?) (?!and\b|or\b|of\b)`;
/** "Upper limits of normal" is a heart that is nearly too large; "at the upper limits", not quite. */
const normal =
  /(?<!\bupper (?:limits? )?(?:of )?)\bnormal\b|\b(?:at|on|within) (?:the )?upper limits? (?:of )?normal\b/;
/** Of two findings, not of two adjectives ("acute or subacute"). */
const joined =
  /(?<!\b(?:acute|subacute|chronic|old|new|small|mild|left|right) )\bor\b|\b(?:versus|vs)\b/;
const near = /[;:,]|(?:\S+ ){3}/;

export const cueRows: readonly CueRow[] = [
  {
    state: 'uncertain',
    side: 'before',
    until: forward,
    cues: anyOf([
      /\b(?:can ?not|could not|difficult to|not|no evidence to) (?:\w+ ){0,2}?(?:excluded?|rule out|ruled out)\b/,
      /\bno (?:definite )?new\b/,
    ]),
  },
  {
    state: 'uncertain',
    side: 'after',
    until: backward,
    cues: anyOf([
      /\b(?:not|cannot|can not|could not|difficult to) (?:\w+ ){0,3}?(?:excluded?|ruled out)\b/,
    ]),
  },
  {
    state: 'negative',
    side: 'before',
    until: forward,
    cues: anyOf([
      /\b(?:no|without)\b(?! (?:\w+ ){0,3}?(?:change|increase|improvement)\b)/,
      /\b(?:negative for|free of|clear of|clearing of|absence of|absent|rather than|resolution of|removal of|history of|exclude|rule out|never|neither|nor)\b/,
      /\bnot (?:\w+ )?(?:see|show|demonstrate|identify|suggest|represent)\b/,
    ]),
  },
  {
    state: 'negative',
    side: 'after',
    until: backward,
    cues: anyOf([
      /\b(?:is|are) (?:absent|excluded|ruled out)\b/,
      /\b(?:(?:is|are|has|have|been|was|were|now|interval) )+(?:\w+ )?(?:resolved|cleared|removed)\b/,
      /\b(?:is|are) no longer\b/,
      /\b(?:is|are|was|were) not (?:\w+ ){0,2}?(?:seen|identified|present|visualized|enlarged|demonstrated)\b/,
    ]),
  },
  {
    state: 'negative',
    side: 'before',
    structures: true,
    until: new RegExp(`${clause}|${verb}|${enlarged}|${phraseEnd}`),
    cues: anyOf([normal, /\bunremarkable\b/]),
  },
  {
    state: 'negative',
    side: 'after',
    structures: true,
    until: new RegExp(`${clause}|${enlarged}|${anotherSubject}`),
    cues: anyOf([
      normal,
      /\b(?:unremarkable|clear|within (?:\w+ )?limits|not (?:\w+ )?enlarged)\b/,
    ]),
  },
  {
    state: 'uncertain',
    side: 'before',
    until: hedging,
    cues: anyOf([
      /\b(?:possibl[ey]|probabl[ey]|presumabl[ey]|questionabl[ey]|questions?|questioned|suspect(?:ed)?|suspicious|suspicion|concern(?:ing)? for|suggesting|suggests?|suggestive of|worrisome for|suggestion of|maybe|perhaps|differential|consider|favor(?:ed)?)\b/,
      /\b(?:may|might|could|would|can)\b/,
    ]),
  },
  {
    state: 'uncertain',
    side: 'after',
    until: backward,
    cues: anyOf([
      /\b(?:is|are) (?:possible|suspected|questioned|considered)\b/,
      /\b(?:may|might|could) (?:also )?(?:be present|have this appearance|appear)\b/,
      /\b(?:poorly|incompletely|not well|not clearly) (?:evaluated|visualized|seen|assessed)\b/,
    ]),
  },
  { state: 'uncertain', side: 'before', until: near, cues: anyOf([joined]) },
  { state: 'uncertain', side: 'after', until: near, cues: anyOf([joined]) },
  {
    state: 'uncertain',
    side: 'before',
    structures: true,
    until: new RegExp(`${forward.source}|${enlarged}`),
    cues: anyOf([/\b(?:stable|unchanged)\b/, /\bborderline\b/]),
  },
  {
    state: 'uncertain',
    side: 'after',
    structures: true,
    until: backward,
    cues: anyOf([
      /\b(?:stable|unchanged|not (?:\w+ )?changed|no (?:\w+ )?change|similar)(?= (?:configuration|appearance|size|to|in|from|since|with|compared|and)\b|[,;]|$)/,
      /\b(?:is|are|appears?|remains?) (?:\w+ )?(?:stable|unchanged|similar|obscured)\b/,
    ]),
  },
];
