import type { Dtype } from '../graph/types.ts';
import { DomainError } from '../errors.ts';
import { printType } from '../tensor.ts';
import { WorkerFailure } from './port.ts';
import type { SessionInfo } from './protocol.ts';

export const gone = (reason: string, message: string): DomainError =>
  new DomainError('FAILED_PRECONDITION', reason, message);

/** What an aborted signal means: its own domain error, a deadline, or a cancellation. */
export function cancelled({ reason }: AbortSignal): DomainError {
  if (reason instanceof DomainError) return reason;
  const late = reason instanceof Error && reason.name === 'TimeoutError';
  return late
    ? new DomainError('DEADLINE_EXCEEDED', 'RUN_TIMED_OUT', 'the run was not done in time')
    : new DomainError('CANCELLED', 'RUN_CANCELLED', 'the run was cancelled');
}

/** A model that does not load. */
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

/** The feeds fitted the model's inputs, so what still fails is within, or memory. */
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
