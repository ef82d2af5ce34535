import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { errorReasons } from '../docs/error-reasons.ts';
import { invalidArgument } from '../lib/errors.ts';

/** Reasons that no test names yet, by module. The list only shrinks: a new reason needs a test. */
const pending: Readonly<Record<string, readonly string[]>> = {
  'lib/releases': ['NOT_READY'],
  'lib/training': ['QUANTIZED_ALREADY'],
  'services/trainer': ['JOB_REFUSED', 'RELEASE_NAME_INVALID'],
  'services/vision': ['IMAGE_MISSING'],
  cli: ['ANSWER_UNKNOWN', 'INTERRUPTED'],
};

const here = 'test/errors.test.ts';
const root = join(import.meta.dirname, '..');
const all = errorReasons();

test('an invalid argument names its field in the message and in the error', (t) => {
  const error = invalidArgument('IMAGE_EMPTY', 'images[0].data', 'got 0 bytes, expected an image');
  t.is(error.message, 'images[0].data: got 0 bytes, expected an image');
  t.is(error.field, 'images[0].data');
  t.is(error.code, 'INVALID_ARGUMENT');
});

test('every error reason of the sources is named by a test', (t) => {
  const files = globSync('test/**/*.ts', { cwd: root }).filter((file) => file !== here);
  const tests = files.map((file) => readFileSync(join(root, file), 'utf8')).join('\n');
  const named = new Set(tests.match(/\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)*\b/g));
  const unnamed = all.filter(({ reason }) => !named.has(reason)).map(({ reason }) => reason);
  const known = new Set(Object.values(pending).flat());
  t.deepEqual(
    unnamed.filter((reason) => !known.has(reason)),
    [],
  );
  const done = [...known].filter((reason) => !unnamed.includes(reason));
  if (done.length > 0) t.log(`no longer pending: ${done.join(', ')}`);
});

test('reasons are read where they are made: by a helper, a table, a template or a condition', (t) => {
  const reasons = new Map(all.map((one) => [one.reason, one]));
  for (const [reason, code] of [
    ['IMAGE_MULTI_PAGE', 'INVALID_ARGUMENT'],
    ['KEPT_RELEASED', 'FAILED_PRECONDITION'],
    ['DISK_READ_ONLY', 'RESOURCE_EXHAUSTED'],
    ['VARIANT_UNKNOWN', 'INVALID_ARGUMENT'],
    ['STORE_DENIED', 'FAILED_PRECONDITION'],
  ] as const)
    t.deepEqual(reasons.get(reason)?.codes, [code], reason);
  t.true(reasons.size > 150);
  t.false(reasons.has('INVALID_ARGUMENT'));
});
