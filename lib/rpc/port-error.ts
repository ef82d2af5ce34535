import { DomainError } from '../errors.ts';

/** PORT_UNAVAILABLE, naming the address and the cause. */
export function portError(host: string, port: number, cause: NodeJS.ErrnoException): DomainError {
  const why = cause.code === 'EADDRINUSE' ? 'is in use by another process' : cause.message;
  const message = `${host}:${port} ${why}; choose another port or end that process`;
  return new DomainError('FAILED_PRECONDITION', 'PORT_UNAVAILABLE', message, { cause });
}
