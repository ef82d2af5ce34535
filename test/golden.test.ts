import { readFileSync, readdirSync } from 'node:fs';
import test from 'ava';
import { agrees } from './support/golden/compare.ts';
import { kindOf } from './support/golden/kinds.ts';

const folder = new URL('golden/', import.meta.url);
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .sort();

for (const file of files) {
  const golden = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Record<string, unknown>;
  const kind = kindOf(golden);
  if (!kind) continue;
  test(`${file} agrees with another implementation of ${kind.name}`, async (t) => {
    const comparisons = await kind.check(golden as never);
    t.deepEqual(
      comparisons.filter((comparison) => !agrees(comparison)),
      [],
    );
    t.log(`${comparisons.length} comparisons`);
  });
}
