import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DomainError } from '../errors.ts';

/** Reads `name` below `root`. Throws FILE_MISSING (NOT_FOUND) or FILE_UNREADABLE (DATA_LOSS). */
export async function readDataFile(root: string, name: string): Promise<Buffer> {
  try {
    return await readFile(join(root, name));
  } catch (error) {
    throw fileError(error, name);
  }
}

/** The first of `names` that exists below `root`; FILE_MISSING names them all. */
export async function findBelow(root: string, names: readonly string[]): Promise<string> {
  for (const name of names) if (await exists(join(root, name))) return name;
  throw missing(names.join(' or '));
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** A file system error as an error of the data; any other error is returned as it is. */
export function fileError(error: unknown, name: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') return missing(name);
  if (code === 'EIO' || code === 'EISDIR' || code === 'EACCES') {
    return new DomainError('DATA_LOSS', 'FILE_UNREADABLE', `${name}: cannot be read (${code})`, {
      field: name,
    });
  }
  return error;
}

export function missing(name: string): DomainError {
  return new DomainError('NOT_FOUND', 'FILE_MISSING', `${name}: no such file`, { field: name });
}
