import type { Random } from './random.ts';

/** Resolves every `(a|b|c)` of a template, inner ones too, to one of its choices. */
export function expand(template: string, random: Random): string {
  let text = template;
  const innermost = /\(([^()]*)\)/;
  for (let match = innermost.exec(text); match; match = innermost.exec(text)) {
    const choice = random.pick((match[1] as string).split('|'));
    text = text.slice(0, match.index) + choice + text.slice(match.index + match[0].length);
  }
  return text
    .replace(/ +/g, ' ')
    .replace(/ (?=[.,])/g, '')
    .trim();
}

/** Sentences as a report prints them: each begins with a capital and ends with a full stop. */
export function paragraph(sentences: readonly string[]): string {
  return sentences
    .flatMap((text) => text.split('. '))
    .filter((text) => text !== '')
    .map((text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`)
    .join(' ');
}
