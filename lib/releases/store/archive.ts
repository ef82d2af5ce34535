import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DomainError } from '../../errors.ts';
import { type Manifest, isReleaseId, manifestName } from '../manifest.ts';
import { verifyFolder } from '../verify.ts';
import type { Waiting } from './objects.ts';
import { type ReleaseStore, releaseKey } from './store.ts';

/**
 * Copies a release into a folder, which must be empty or absent, and checks the copy. Throws
 * ALREADY_EXISTS for a folder with something in it.
 */
export async function exportRelease(
  store: ReleaseStore,
  id: string,
  target: string,
  { signal }: Waiting = {},
): Promise<Manifest> {
  await mkdir(target, { recursive: true });
  const [found] = await readdir(target);
  if (found !== undefined) {
    const message = `${target}: holds ${found} already; a release is exported into an empty folder`;
    throw new DomainError('ALREADY_EXISTS', 'FOLDER_NOT_EMPTY', message, { field: 'folder' });
  }
  const { manifest, folder } = await store.open(id, { signal });
  for (const file of Object.keys(manifest.files)) {
    signal?.throwIfAborted();
    await mkdir(dirname(join(target, file)), { recursive: true });
    await copyFile(join(folder, file), join(target, file));
  }
  await store.objects.download(releaseKey(id), join(target, manifestName), { signal });
  return verifyFolder(target, signal);
}

/**
 * Publishes the release in a folder, or every release in a folder of releases (such as `releases` of
 * another store). Throws NOT_FOUND for a folder that holds neither.
 */
export async function importRelease(
  store: ReleaseStore,
  folder: string,
  { signal }: Waiting = {},
): Promise<string[]> {
  const entries = await readdir(folder).catch((cause: unknown) => {
    const message = `${folder}: no such folder`;
    throw new DomainError('NOT_FOUND', 'FOLDER_NOT_FOUND', message, { field: 'folder', cause });
  });
  const several = entries.filter(isReleaseId);
  const folders =
    several.length > 0 && !entries.includes(manifestName)
      ? several.map((id) => join(folder, id))
      : [folder];
  const ids: string[] = [];
  for (const one of folders) ids.push((await store.publish(one, { signal })).id);
  return ids;
}
