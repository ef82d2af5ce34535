import { DomainError } from '../../errors.ts';

/** A DomainError for a full or read-only disk; any other error is returned unchanged. */
function diskError(error: unknown, path: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const reasons: Readonly<Record<string, readonly [string, string]>> = {
    ENOSPC: ['DISK_FULL', 'the disk is full'],
    EDQUOT: ['DISK_FULL', 'the disk quota is used up'],
    EROFS: ['DISK_READ_ONLY', 'the disk is read-only'],
    EFBIG: ['DISK_FULL', 'the file would be larger than allowed'],
  };
  const found = typeof code === 'string' ? reasons[code] : undefined;
  if (!found) return error;
  const [reason, message] = found;
  return new DomainError('RESOURCE_EXHAUSTED', reason, `${path}: ${message}`, {
    field: path,
    cause: error,
  });
}

/** Runs `write`. Throws DISK_FULL and DISK_READ_ONLY. */
export async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    throw diskError(error, path);
  }
}
