import { anyOf } from './rules.ts';

/**
 * The words that negate or hedge a mention, and how far they reach. Rows are tried in order; the first
 * one that reaches a mention decides its state, and a mention that no row reaches is positive. The order is
 * that of CheXpert: hedges of a negation ("cannot exclude"), negations, hedges.
 */
export interface CueRow {
  readonly state: 'negative' | 'uncertain';
  /** Where the cue is, relative to the mention. */
  readonly side: 'before' | 'after';
  /** Only for words that name a structure ("heart size"), not an abnormality. */
  readonly structures?: true;
  readonly cues: RegExp;
  /** Text that must not be between cue and mention. */
  readonly until: RegExp;
}

const clause =
  /[;:]|, otherwise\b|\b(?:but|however|although|though|except|whereas|while|which|because|there (?:is|are|has|have|may))\b/;
const verb = /\b(?:is|are|was|were|has|have|had|remains?|appears?|demonstrates?|shows?)\b/;
const participle = /\b(?:seen|noted)\b/;
/** The start of another finding, and not the next member of a list. */
const another =
  /(?:,|\band) (?:small|mild|minimal|moderate|severe|stable|unchanged|persistent|chronic|old|prior|increas|worsen|improv|heart|cardiac|mediastin|lungs?|with|suggest|probabl|possibl)|, (?:and )?(?:right|left) /;
/** After the only comma, words that do not end a list: another subject, with its own predicate in the singular. */
const anotherSubject = /^[^,]*, (?![^,]*\b(?:and|or|are)\b)[^, ]+ [^,]*$/;
/** A noun that another one follows, unjoined: the phrase has ended, though its comma was forgotten. */
const phraseEnd = /\b(?:heart size|silhouettes?|contours?) (?!and\b|or\b|of\b)/;
const enlarged =
  /\b(?:(?<!\bnot (?:\w+ )?)enlarged|enlargement|large|prominen\w+|widen\w+|tortuous)\b/;
/** Introduces a conclusion, which a hedge before it does not reach. */
const conclusion = /\b(?:as|suggest\w+|compatible|consistent|representing)\b/;

const forward = anyOf([clause, verb, participle, another, /\bwith\b/]);
const backward = anyOf([clause, verb, enlarged, anotherSubject]);
/** The next few words, in the same phrase. */
const near = /[;:,]|(?:\S+ ){3}/;

/** "Upper limits of normal" is a heart that is nearly too large; "at the upper limits", not quite. */
const normal =
  /(?<!\bupper limits? (?:of )?)\bnormal\b|\b(?:at|on|within) (?:the )?upper limits? (?:of )?normal\b/;
/** Between two findings, not two adjectives ("acute or subacute"). */
const joined =
  /(?<!\b(?:acute|subacute|chronic|old|new|small|mild|left|right) )\bor\b|\b(?:versus|vs)\b/;

export const cueRows: readonly CueRow[] = [
  {
    state: 'uncertain',
    side: 'before',
    until: forward,
    cues: anyOf([
      /\b(?:can ?not|could not|difficult to|not|no evidence to) (?:\w+ ){0,2}?(?:excluded?|rule out|ruled out)\b/,
      // What is not new may be old.
      /\bno (?:definite )?new\b/,
    ]),
  },
  {
    state: 'uncertain',
    side: 'after',
    until: backward,
    cues: anyOf([
      /\b(?:(?:is|are|was|were) )?(?:not|can ?not|could not|difficult to) (?:\w+ ){0,3}?(?:excluded?|ruled? out)\b/,
    ]),
  },
  {
    state: 'negative',
    side: 'before',
    until: forward,
    cues: anyOf([
      /\bno longer (?:\w+ )?(?:is|are)\b/,
      /\b(?:no|without)\b(?! (?:\w+ ){0,3}?(?:change|increase|improvement)\b)/,
      /\b(?:negative for|free of|clear of|clearing of|absence of|absent|rather than|never|neither|nor)\b/,
      /\b(?:resolution|removal|history) of\b|\b(?:exclude|rule out)\b/,
      /(?<!\b(?:has|have|is|are|been|not) )\bresolved\b/,
      /\bnot (?:an?|any)\b|\bnot (?:\w+ )?(?:see|show|demonstrate|identify|suggest|represent)\b/,
    ]),
  },
  {
    state: 'negative',
    side: 'after',
    until: backward,
    cues: anyOf([
      /\b(?:is|are) (?:absent|excluded|ruled out|no longer)\b/,
      /\b(?:(?:is|are|has|have|been|was|were|now|interval) ){1,4}(?:(?!not\b)\w+ )?(?:resolved|cleared|removed)\b/,
      /\b(?:is|are|was|were) not (?:\w+ ){0,2}?(?:seen|identified|present|visualized|enlarged|demonstrated)\b/,
    ]),
  },
  {
    state: 'negative',
    side: 'before',
    structures: true,
    until: anyOf([clause, verb, participle, enlarged, phraseEnd]),
    cues: anyOf([normal, /\bunremarkable\b/]),
  },
  {
    state: 'negative',
    side: 'after',
    structures: true,
    until: anyOf([clause, enlarged, anotherSubject]),
    cues: anyOf([
      normal,
      /\b(?:unremarkable|clear|within (?:\w+ )?limits|not (?:\w+ )?enlarged)\b/,
    ]),
  },
  {
    state: 'uncertain',
    side: 'before',
    until: anyOf([clause, another, conclusion, /\bwith(?:out)?\b/]),
    cues: anyOf([
      /\b(?:may|might|could|would|can|maybe|perhaps|if any|unlikely|less likely)\b/,
      /\b(?:possibl[ey]|probabl[ey]|presumabl[ey]|questionabl[ey]|questions?|questioned)\b/,
      // "Most suggestive of" is a conclusion.
      /\b(?:suspect(?:ed)?|suspicious|suspicion|suggestion of|suggesting|suggests?|(?<!\bmost )suggestive of)\b/,
      /\b(?:concern(?:ing)?|worrisome) for\b|\b(?:differential|consider|favor(?:ed)?)\b/,
      /\b(?:evaluat(?:e|ion)|assess|correlat(?:e|ion)) (?:\w+ )?(?:for|with)\b/,
    ]),
  },
  {
    state: 'uncertain',
    side: 'after',
    structures: true,
    until: anyOf([clause, enlarged, anotherSubject]),
    cues: anyOf([
      /\b(?:may|might|could) be (?:\w+ )?(?:enlarged|widened|prominent)\b/,
      /\b(?:possibly|probably|questionably) (?:\w+ )?(?:enlarged|widened|prominent)\b/,
    ]),
  },
  {
    state: 'uncertain',
    side: 'after',
    until: backward,
    cues: anyOf([
      /\b(?:is|are) (?:possible|suspected|questioned|considered|unlikely|less likely)\b/,
      /\b(?:may|might|could) (?:also )?(?:be present|have this appearance|appear)\b/,
      /\b(?:(?:is|are|was|were) )?(?:poorly|incompletely|not well|not clearly) (?:evaluated|visualized|seen|assessed)\b/,
      /, if any\b/,
    ]),
  },
  { state: 'uncertain', side: 'before', until: near, cues: anyOf([joined]) },
  { state: 'uncertain', side: 'after', until: near, cues: anyOf([joined]) },
  {
    state: 'uncertain',
    side: 'before',
    structures: true,
    until: anyOf([forward, enlarged]),
    cues: anyOf([/\b(?:stable|unchanged|borderline)\b/]),
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
