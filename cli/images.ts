import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError } from '../lib/data/files.ts';
import { invalidArgument } from '../lib/errors.ts';
import { formatOf, headBytes } from '../lib/image/decode.ts';

/**
 * The image files of these paths: a file is taken as it is; of a folder, all image files in it and below
 * it, ordered by name. Image files are recognised by their first bytes, as DICOM files often have no
 * extension.
 *
 * @throws {DomainError} NOT_FOUND for a missing path; INVALID_ARGUMENT for a folder without images.
 */
export async function findImages(paths: readonly string[]): Promise<readonly string[]> {
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
      if (await isImage(file)) found.push(file);
    }
    if (found.length === before) {
      throw invalidArgument('NO_IMAGES', path, 'holds no JPEG, PNG, TIFF or DICOM file');
    }
  }
  return found;
}

async function isImage(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(headBytes));
    return formatOf(buffer.subarray(0, bytesRead)) !== undefined;
  } finally {
    await file.close();
  }
}
