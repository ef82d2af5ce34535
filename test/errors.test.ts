import test from 'ava';
import { invalidArgument } from '../lib/errors.ts';

test('an invalid argument names its field in the message and in the error', (t) => {
  const error = invalidArgument('IMAGE_EMPTY', 'images[0].data', 'got 0 bytes, expected an image');
  t.is(error.message, 'images[0].data: got 0 bytes, expected an image');
  t.is(error.field, 'images[0].data');
  t.is(error.code, 'INVALID_ARGUMENT');
});
