import type { Settings } from '../../lib/service/settings.ts';
import { settings as gateway } from '../../services/gateway/config.ts';
import { settings as generator } from '../../services/generator/config.ts';
import { settings as labeler } from '../../services/labeler/config.ts';
import { settings as trainer } from '../../services/trainer/config.ts';
import { settings as vision } from '../../services/vision/config.ts';
import { code, table, written } from './markdown.ts';

const tables: Readonly<Record<string, Settings>> = { gateway, vision, labeler, generator, trainer };

/** A variable with one meaning, the services that have it, and the default in each. */
interface Row {
  readonly env: string;
  readonly doc: string;
  readonly defaults: Map<string, string>;
}

/** docs/reference/settings.md: what `services/NAME/main.ts --help` prints, of all services. */
export function settingsPage(): string {
  const rows = new Map<string, Row>();
  for (const [service, settings] of Object.entries(tables)) {
    for (const { env, doc, standard } of Object.values(settings)) {
      const key = `${env}: ${doc}`;
      const row = rows.get(key) ?? { env, doc, defaults: new Map<string, string>() };
      row.defaults.set(service, standard);
      rows.set(key, row);
    }
  }
  const groups = Map.groupBy(rows.values(), ({ defaults }) => [...defaults.keys()].join(', '));
  const names = [...groups.keys()].sort((a, b) => b.split(', ').length - a.split(', ').length);
  return [
    written('the settings of services/*/config.ts'),
    '# Settings',
    'Every setting is an environment variable; `node services/NAME/main.ts --help` prints those of one service. A value that is wrong ends the service at its start with a line that names the variable and what was expected. What a training run does is its own configuration: `radscribe train --print-config`.',
    ...names.flatMap((name) => [
      `## ${title(name)}`,
      table(['variable', 'default', 'meaning'], groups.get(name)!.map(cells)),
    ]),
  ].join('\n\n');
}

const title = (services: string): string => {
  const names = services.split(', ');
  if (names.length === Object.keys(tables).length) return 'Every service';
  const text =
    names.length === 1 ? services : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
  return text[0]!.toUpperCase() + text.slice(1);
};

function cells({ env, doc, defaults }: Row): string[] {
  const differ = new Set(defaults.values()).size > 1;
  const shown = (value: string): string => (value === '' ? '' : code(value));
  const all = [...defaults].map(([service, value]) => `${service} ${shown(value)}`).join(', ');
  return [code(env), differ ? all : shown([...defaults.values()][0]!), doc];
}
