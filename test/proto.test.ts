import { readFileSync } from 'node:fs';
import test from 'ava';
import { breakingChanges, publishedSurface, styleErrors, surfaceOf } from '../proto/check.ts';
import { typesSource } from '../proto/types.ts';

test('the proto files keep our conventions', (t) => {
  t.deepEqual(styleErrors(), []);
});

test('the proto files break nothing that was published', (t) => {
  t.deepEqual(breakingChanges(publishedSurface(), surfaceOf()), []);
});

test('what is in the proto files is published', (t) => {
  t.deepEqual(surfaceOf(), publishedSurface(), 'run `npm run proto`');
});

test('the types are those of the proto files', async (t) => {
  const url = new URL('../lib/rpc/messages.ts', import.meta.url);
  t.is(await typesSource(), readFileSync(url, 'utf8'), 'run `npm run proto`');
});

test('a removed field, a new number and a new type are breaking; a new field is not', (t) => {
  const was = { 'a.M.x': '= 1 string', 'a.M.y': '= 2 int32', 'a.M.z': '= 3 int32' };
  const is = { 'a.M.x': '= 4 string', 'a.M.y': '= 2 int64', 'a.M.new': '= 5 string' };
  t.deepEqual(breakingChanges(was, is), [
    'a.M.x was `= 1 string`, is `= 4 string`',
    'a.M.y was `= 2 int32`, is `= 2 int64`',
    'a.M.z was removed',
  ]);
});
