import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError } from '../lib/data/files.ts';
import { invalidArgument } from '../lib/errors.ts';
import { formatOf, headBytes } from '../lib/image/decode.ts';

/**
 * The files to send: a file as it is named, of a folder all pictures in it and below, in the order of
 * their names. What is a picture is told by its first bytes, as DICOM files often have no extension.
 *
 * @throws {DomainError} NOT_FOUND for a path that is not there; INVALID_ARGUMENT for a folder without
 *   a picture.
 */
export async function findPictures(paths: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of paths) {
    const info = await stat(path).catch((error: unknown) => {
      throw fileError(error, path);
    });
    if (!info.isDirectory()) {
      found.push(path);
      continue;
    }
    const before = found.length;
    const entries = await readdir(path, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    for (const file of files.map(({ parentPath, name }) => join(parentPath, name)).sort()) {
      if (await isPicture(file)) found.push(file);
    }
    if (found.length === before) {
      throw invalidArgument('NO_PICTURES', path, 'holds no JPEG, PNG, TIFF or DICOM file');
    }
  }
  return found;
}

async function isPicture(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(headBytes));
    return formatOf(buffer.subarray(0, bytesRead)) !== undefined;
  } finally {
    await file.close();
  }
}
