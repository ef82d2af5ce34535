/**
 * METEOR (Banerjee and Lavie 2005) as NLTK 3.8 computes it: words are matched as they are, then by
 * stem, then by synonyms of the stem; matches in fewer runs score higher.
 */
import { stemmer } from 'stemmer';
import type { TokenPair } from './pairs.ts';
import { WordNet } from './word-net.ts';

const alpha = 0.9;
const beta = 3;
const gamma = 0.5;
const wordNet = new WordNet();

/** 0 to 1, for the reference that fits best. */
export function meteor({ candidate, references }: TokenPair): number {
  return Math.max(...references.map((reference) => score(candidate, reference)));
}

function score(candidate: readonly string[], reference: readonly string[]): number {
  const matches = align(candidate, reference);
  if (matches.length === 0) return 0;
  const precision = matches.length / candidate.length;
  const recall = matches.length / reference.length;
  const harmonic = (precision * recall) / (alpha * precision + (1 - alpha) * recall);
  return (1 - gamma * (countRuns(matches) / matches.length) ** beta) * harmonic;
}

type Match = readonly [inCandidate: number, inReference: number];

interface Word {
  readonly at: number;
  readonly text: string;
}

function align(candidate: readonly string[], reference: readonly string[]): readonly Match[] {
  const matches: Match[] = [];
  let [written, wanted] = [candidate, reference].map((tokens) =>
    tokens.map((token, at): Word => ({ at, text: token.toLowerCase() })),
  ) as [Word[], Word[]];
  const same = (a: string, b: string) => a === b;
  takeMatches(written, wanted, same, matches);
  written = written.map(stem);
  wanted = wanted.map(stem);
  takeMatches(written, wanted, same, matches);
  takeMatches(written, wanted, (a, b) => a === b || wordNet.synonyms(a).has(b), matches);
  return matches.toSorted(([a], [b]) => a - b);
}

const stem = ({ at, text }: Word): Word => ({ at, text: stemmer(text) });

/** Moves the words that match out of both lists, the last first. */
function takeMatches(
  written: Word[],
  wanted: Word[],
  match: (written: string, wanted: string) => boolean,
  matches: Match[],
): void {
  for (let i = written.length - 1; i >= 0; i--) {
    const word = written[i] as Word;
    const j = wanted.findLastIndex(({ text }) => match(word.text, text));
    if (j === -1) continue;
    matches.push([word.at, (wanted[j] as Word).at]);
    written.splice(i, 1);
    wanted.splice(j, 1);
  }
}

function countRuns(matches: readonly Match[]): number {
  let runs = 1;
  for (let at = 1; at < matches.length; at++) {
    const [a, b] = matches[at - 1] as Match;
    const [c, d] = matches[at] as Match;
    if (c !== a + 1 || d !== b + 1) runs += 1;
  }
  return runs;
}
