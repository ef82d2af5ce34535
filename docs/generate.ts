import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format } from 'oxfmt';
import { apiPage } from './pages/api.ts';
import { errorsPage } from './pages/errors.ts';
import { metricsPage } from './pages/metrics.ts';
import { importsSection, modulesDiagram } from './pages/modules.ts';
import { settingsPage } from './pages/settings.ts';

/**
 * `npm run docs`: writes the references of the API, errors, metrics and settings from their sources, and the parts
 * of other pages between `<!-- NAME: written by npm run docs -->` and `<!-- /NAME -->`.
 */
const pages: Readonly<Record<string, () => string>> = {
  'docs/reference/api.md': apiPage,
  'docs/reference/errors.md': errorsPage,
  'docs/reference/metrics.md': metricsPage,
  'docs/reference/settings.md': settingsPage,
};

const sections: Readonly<Record<string, Readonly<Record<string, () => string>>>> = {
  'CONTRIBUTING.md': { imports: importsSection },
  'docs/architecture.md': { modules: modulesDiagram },
};

/** Where a file lies, by its path from the repository's root. */
export const placeOf = (path: string): string =>
  fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Every generated file as it should be, by its path from the repository's root. */
export async function generated(): Promise<ReadonlyMap<string, string>> {
  const files = new Map(Object.entries(pages).map(([path, page]) => [path, page()]));
  for (const [path, parts] of Object.entries(sections)) {
    let text = await readFile(placeOf(path), 'utf8');
    for (const [name, section] of Object.entries(parts)) text = replace(text, name, section());
    files.set(path, text);
  }
  const options = { printWidth: 100, singleQuote: true };
  const formatted = [...files].map(async ([path, text]) => {
    const { code } = await format(path, text, options);
    return [path, code] as const;
  });
  return new Map(await Promise.all(formatted));
}

function replace(text: string, name: string, section: string): string {
  const begin = `<!-- ${name}: written by \`npm run docs\` -->`;
  const end = `<!-- /${name} -->`;
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from === -1 || to < from) throw new Error(`no ${begin} before ${end}`);
  return `${text.slice(0, from + begin.length)}\n\n${section}\n\n${text.slice(to)}`;
}

if (import.meta.main) {
  for (const [path, text] of await generated()) await writeFile(placeOf(path), text);
}
