import type { Dtype } from '../graph/types.ts';
import { DomainError } from '../errors.ts';
import { printType } from '../tensor.ts';
import { WorkerFailure } from './port.ts';
import type { SessionInfo } from './protocol.ts';

/** A session, backend or kept value that was disposed of or lost. */
export const gone = (reason: string, message: string): DomainError =>
  new DomainError('FAILED_PRECONDITION', reason, message);

/** The domain error of a model that does not load. */
export function loadError(model: string | Uint8Array, error: unknown): unknown {
  if (!(error instanceof WorkerFailure)) return error;
  const what = typeof model === 'string' ? model : `model of ${model.byteLength} bytes`;
  const message = `${what}: ${error.message.trim()}`;
  const details = { field: 'model', cause: error };
  const missing = /File doesn't exist|No such file/.test(error.message);
  return missing
    ? new DomainError('NOT_FOUND', 'MODEL_NOT_FOUND', message, details)
    : new DomainError('INVALID_ARGUMENT', 'MODEL_INVALID', message, details);
}

/** The domain error of a failed run. The feeds fitted the inputs: either memory or an operator failed. */
export function runError(
  { outputs }: SessionInfo,
  feeds: Readonly<Record<string, { readonly dtype: Dtype; readonly shape: readonly number[] }>>,
  error: unknown,
): unknown {
  if (!(error instanceof WorkerFailure)) return error;
  const fed = Object.entries(feeds).map(
    ([name, { dtype, shape }]) => `${name}: ${printType(dtype, shape)}`,
  );
  const names = outputs.map(({ name }) => name).join(', ');
  const message = `running ${fed.join(', ')} to ${names} failed: ${error.message.trim()}`;
  return /allocate memory|bad_alloc|out of memory/i.test(error.message)
    ? new DomainError('RESOURCE_EXHAUSTED', 'OUT_OF_MEMORY', message, { cause: error })
    : new DomainError('INTERNAL', 'RUN_FAILED', message, { cause: error });
}
