import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DomainError } from '../errors.ts';
import { digestFile } from './digest.ts';
import {
  type FileDigest,
  type Manifest,
  formatVersion,
  manifestName,
  parseManifest,
} from './manifest.ts';

/** The stored bytes are not those that were written; `file` is the path within the release. */
function dataLoss(release: string, file: string, message: string, cause?: unknown) {
  return new DomainError('DATA_LOSS', 'RELEASE_CORRUPT', `release ${release}: ${file} ${message}`, {
    field: file,
    metadata: { release, file },
    cause,
  });
}

/**
 * Reads the manifest of a stored release. Throws DATA_LOSS where it is truncated, changed or another
 * release's, and FAILED_PRECONDITION where a later version wrote it.
 */
export function readManifest(bytes: Uint8Array, id: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw dataLoss(id, manifestName, `is not JSON (${bytes.length} bytes)`, cause);
  }
  const version = (json as { formatVersion?: unknown } | null)?.formatVersion;
  if (typeof version === 'number' && version > formatVersion) {
    const message = `release ${id} has format ${version}, this version reads up to ${formatVersion}`;
    throw new DomainError('FAILED_PRECONDITION', 'RELEASE_FORMAT', message, { field: 'release' });
  }
  let manifest: Manifest;
  try {
    manifest = parseManifest(json, id);
  } catch (cause) {
    const what = cause instanceof DomainError ? cause.message : 'is not a manifest';
    throw dataLoss(id, manifestName, `is damaged: ${what}`, cause);
  }
  if (manifest.id !== id) throw dataLoss(id, manifestName, `is that of ${manifest.id}`);
  return manifest;
}

/** Throws DATA_LOSS, naming the file, unless `path` holds exactly the released bytes. */
export async function verifyFile(
  path: string,
  expected: FileDigest,
  { release, file }: { readonly release: string; readonly file: string },
  signal?: AbortSignal,
): Promise<void> {
  let found: FileDigest;
  try {
    found = await digestFile(path, signal);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOENT' && code !== 'EISDIR' && code !== 'EIO') throw error;
    throw dataLoss(release, file, code === 'ENOENT' ? 'is missing' : `cannot be read (${code})`);
  }
  if (found.bytes !== expected.bytes) {
    throw dataLoss(release, file, `has ${found.bytes} bytes, expected ${expected.bytes}`);
  }
  if (found.sha256 !== expected.sha256) {
    const message = `has SHA-256 ${found.sha256.slice(0, 12)}..., expected ${expected.sha256.slice(0, 12)}...`;
    throw dataLoss(release, file, message);
  }
}

/**
 * Checks a release folder outside of a store: the manifest against its own id, every file against the
 * manifest. Throws as `readManifest` and `verifyFile`, NOT_FOUND where there is no manifest.
 */
export async function verifyFolder(folder: string, signal?: AbortSignal): Promise<Manifest> {
  const bytes = await readFile(join(folder, manifestName)).catch((cause: unknown) => {
    const message = `${folder}: holds no ${manifestName}`;
    throw new DomainError('NOT_FOUND', 'RELEASE_NOT_FOUND', message, { field: 'release', cause });
  });
  const claimed = /"id"\s*:\s*"(rs-[0-9a-f]{24})"/.exec(bytes.toString('latin1'))?.[1];
  const manifest = readManifest(bytes, claimed ?? folder);
  for (const [file, expected] of Object.entries(manifest.files)) {
    await verifyFile(join(folder, file), expected, { release: manifest.id, file }, signal);
  }
  return manifest;
}
