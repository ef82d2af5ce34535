import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { dashboard } from './dashboard.ts';
import { groups } from './rules.ts';

const written =
  '# Written by `node deploy/monitoring/generate.ts`; change deploy/monitoring/rules.ts.\n';
const yaml = (value: unknown) => `${written}${stringify(value, { lineWidth: 0 })}`;

/** Every generated file, by its path from the repository's root. */
export function generated(): Record<string, string> {
  return {
    'deploy/monitoring/rules.yaml': yaml({ groups }),
    'deploy/k8s/components/monitoring/rules.yaml': yaml({
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PrometheusRule',
      metadata: { name: 'radscribe' },
      spec: { groups },
    }),
    'deploy/k8s/components/monitoring/dashboard.json': `${JSON.stringify(dashboard(), null, 2)}\n`,
  };
}

if (import.meta.main)
  for (const [path, text] of Object.entries(generated()))
    await writeFile(fileURLToPath(new URL(`../../${path}`, import.meta.url)), text);
