import test from 'ava';
import { DomainError, invalidArgument } from '../lib/errors.ts';
import { fieldPath } from '../lib/rpc/field-path.ts';
import type { Status } from '../lib/rpc/messages.ts';
import { errorOfStatus, statusMessage } from '../lib/rpc/status-message.ts';

/** The error as a caller receives it. */
const received = (error: unknown): DomainError =>
  errorOfStatus({
    code: 0,
    message: '',
    details: [],
    ...statusMessage(error),
  } as Status) as DomainError;

test('a field is named by its proto path, the keys of a JSON document by their own names', (t) => {
  const cases = [
    ['images[0].data', 'images[0].data'],
    ['decoding.maxTokens', 'decoding.max_tokens'],
    ['decoding.topP', 'decoding.top_p'],
    ['page_size', 'page_size'],
    ['config_json', 'config_json'],
    ['config_json.stage2.encoderRate', 'config_json.stage2.encoderRate'],
    ['requests[3].configJson', 'requests[3].config_json'],
  ] as const;
  for (const [field, path] of cases) {
    t.is(fieldPath(field), path);
    const error = received(invalidArgument('BAD', field, 'got topP, expected minTokens'));
    t.is(error.field, path);
    t.is(error.message, `${path}: got topP, expected minTokens`, 'the rest of a message stays');
  }
  const setting = new DomainError('FAILED_PRECONDITION', 'MISSING', 'no key', { field: 'tlsKey' });
  t.is(received(setting).field, 'tlsKey', 'only a wrong argument is a field of the request');
  const free = new DomainError('INVALID_ARGUMENT', 'BAD', 'maxTokens is bad', {
    field: 'maxTokens',
  });
  t.is(received(free).message, 'maxTokens is bad');
});

test('an error arrives with its code, reason, field and metadata', (t) => {
  const error = new DomainError('RESOURCE_EXHAUSTED', 'QUEUE_FULL', 'full', {
    metadata: { retryAfterMs: '1250' },
  });
  t.like(received(error), {
    code: 'RESOURCE_EXHAUSTED',
    reason: 'QUEUE_FULL',
    message: 'full',
    metadata: { retryAfterMs: '1250' },
  });
  t.is(received(new Error('the name of a patient')).message, 'internal error');
  t.is(received(new Error('any')).reason, 'INTERNAL');
  t.is(received(new DOMException('left', 'AbortError')).code, 'CANCELLED');
});

test('a status without details is an error with the reason RPC_ and its code', (t) => {
  const foreign = [
    [12, 'UNIMPLEMENTED', 'RPC_UNIMPLEMENTED'],
    [13, 'INTERNAL', 'RPC_INTERNAL'],
    [10, 'FAILED_PRECONDITION', 'RPC_ABORTED'],
    [11, 'INVALID_ARGUMENT', 'RPC_OUT_OF_RANGE'],
    [2, 'INTERNAL', 'RPC_UNKNOWN'],
    [99, 'INTERNAL', 'RPC_UNKNOWN'],
  ] as const;
  for (const [number, code, reason] of foreign) {
    const error = errorOfStatus({ code: number, message: 'm', details: [] });
    t.like(error, { code, reason, message: 'm' });
  }
});
