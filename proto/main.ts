import { existsSync, writeFileSync } from 'node:fs';
import { breakingChanges, publishedSurface, styleErrors, surfaceOf, surfacePath } from './check.ts';
import { typesSource } from './types.ts';

/**
 * `npm run proto`: checks the .proto files, writes their types, and publishes their surface. A
 * breaking change is refused unless `--breaking` is given, which is for what was never released.
 */
const now = surfaceOf();
const published = existsSync(surfacePath) ? publishedSurface() : {};
const breaking = process.argv.includes('--breaking') ? [] : breakingChanges(published, now);
const errors = [...styleErrors(), ...breaking];
if (errors.length > 0) {
  console.error(errors.join('\n'));
  process.exitCode = 1;
} else {
  const target = new URL('../lib/rpc/messages.ts', import.meta.url);
  writeFileSync(target, await typesSource());
  writeFileSync(surfacePath, `${JSON.stringify(now, null, 2)}\n`);
}
