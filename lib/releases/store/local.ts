import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import {
  type FileHandle,
  copyFile,
  link,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DomainError } from '../../errors.ts';
import { type ObjectInfo, type Objects, type Waiting, checkKey, storeError } from './objects.ts';

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error ? String(error.code) : undefined;

/** Temporary files start with a dot, so that no listing shows them. */
const isHidden = (name: string): boolean => name.startsWith('.');

const isTemporary = /^\.[0-9a-f-]{36}\.tmp$/;

/**
 * A folder as a store. Content is written to a hidden file beside its path and synced, then renamed to
 * the path or, for `create`, hard-linked to it: link(2) fails where a file exists, in any process of any
 * machine that shares the file system.
 */
export class LocalObjects implements Objects {
  readonly url: string;
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    this.url = pathToFileURL(root).href;
  }

  localPath(key: string): string {
    return join(this.#root, checkKey(key));
  }

  async read(key: string, { signal }: Waiting = {}): Promise<Buffer | undefined> {
    try {
      return await readFile(this.localPath(key), signal ? { signal } : {});
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
      throw this.#explain(error, key);
    }
  }

  async write(key: string, bytes: Uint8Array): Promise<void> {
    await this.#place(key, (file) => file.writeFile(bytes), rename);
  }

  async create(key: string, bytes: Uint8Array): Promise<boolean> {
    try {
      await this.#place(key, (file) => file.writeFile(bytes), link);
      return true;
    } catch (error) {
      if (codeOf(error instanceof DomainError ? error.cause : error) === 'EEXIST') return false;
      throw error;
    }
  }

  async upload(key: string, path: string): Promise<void> {
    // The copy shares blocks with the original where the file system supports that.
    const copy = (_: FileHandle, temporary: string): Promise<void> =>
      copyFile(path, temporary, constants.COPYFILE_FICLONE);
    await this.#place(key, copy, rename);
  }

  async download(key: string, path: string): Promise<void> {
    try {
      await copyFile(this.localPath(key), path, constants.COPYFILE_FICLONE);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw this.#explain(error, key);
      throw storeError('NOT_FOUND', 'OBJECT_NOT_FOUND', this.url, `${key} is not there`, error);
    }
  }

  async remove(key: string): Promise<void> {
    const path = this.localPath(key);
    try {
      await rm(path, { force: true });
      await this.#sync(dirname(path));
      // Folders are not objects: empty ones are removed.
      for (let folder = dirname(path); folder !== this.#root; folder = dirname(folder)) {
        await rmdir(folder);
      }
    } catch (error) {
      const harmless = ['ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR'];
      if (!harmless.includes(codeOf(error) ?? '')) throw this.#explain(error, key);
    }
  }

  async *list(
    prefix: string,
    { after = '', signal }: Waiting & { readonly after?: string } = {},
  ): AsyncGenerator<ObjectInfo> {
    for (const entry of await this.#entries(prefix)) {
      signal?.throwIfAborted();
      const key = `${prefix}${entry.name}`;
      if (entry.isDirectory()) {
        yield* this.list(`${key}/`, { after, signal });
      } else if (key > after) {
        const found = await stat(join(this.#root, key)).catch(() => undefined);
        if (found) yield { key, bytes: found.size, modifiedMs: found.mtimeMs };
      }
    }
  }

  async *folders(
    prefix: string,
    { after = '' }: Waiting & { readonly after?: string } = {},
  ): AsyncGenerator<string> {
    const entries = await this.#entries(prefix);
    const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    for (const name of names.sort()) if (name > after) yield name;
  }

  async tidy(beforeMs: number, { signal }: Waiting = {}): Promise<void> {
    const entries = await readdir(this.#root, { recursive: true, withFileTypes: true }).catch(
      () => [],
    );
    for (const entry of entries) {
      signal?.throwIfAborted();
      if (!entry.isFile() || !isTemporary.test(entry.name)) continue;
      const path = join(entry.parentPath, entry.name);
      const found = await stat(path).catch(() => undefined);
      if (found && found.mtimeMs < beforeMs) await rm(path, { force: true });
    }
  }

  close(): void {}

  /** Sorted as the keys below are: `a.json` comes before `a/`, as in S3. */
  async #entries(prefix: string) {
    const folder = join(this.#root, ...prefix.split('/').filter((part) => part !== ''));
    try {
      const entries = await readdir(folder, { withFileTypes: true });
      const order = (entry: (typeof entries)[number]): string =>
        entry.isDirectory() ? `${entry.name}/` : entry.name;
      return entries
        .filter(({ name }) => !isHidden(name))
        .sort((a, b) => (order(a) < order(b) ? -1 : 1));
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return [];
      throw this.#explain(error, prefix);
    }
  }

  async #place(
    key: string,
    write: (file: FileHandle, temporary: string) => Promise<void>,
    put: (from: string, to: string) => Promise<void>,
    attempts = 5,
  ): Promise<void> {
    const path = this.localPath(key);
    const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
    try {
      await mkdir(dirname(path), { recursive: true });
      {
        await using file = await open(temporary, 'w');
        await write(file, temporary);
        await file.sync();
      }
      await put(temporary, path);
      await this.#sync(dirname(path));
    } catch (error) {
      // Another process removed the folder, which was empty until now.
      if (codeOf(error) === 'ENOENT' && attempts > 1 && !(await isMissingSource(error, temporary)))
        return await this.#place(key, write, put, attempts - 1);
      throw this.#explain(error, key);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async #sync(folder: string): Promise<void> {
    await using handle = await open(folder, 'r');
    await handle.sync();
  }

  #explain(error: unknown, key: string): unknown {
    const code = codeOf(error);
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      const message = `no space is left for ${key}; free some space and retry`;
      return storeError('RESOURCE_EXHAUSTED', 'STORE_FULL', this.url, message, error);
    }
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      const message = `${key} may not be written or read (${code})`;
      return storeError('FAILED_PRECONDITION', 'STORE_DENIED', this.url, message, error);
    }
    if (code === 'EIO' || code === 'ESTALE' || code === 'ETIMEDOUT') {
      const message = `${key} cannot be reached (${code})`;
      return storeError('UNAVAILABLE', 'STORE_UNAVAILABLE', this.url, message, error);
    }
    return error;
  }
}

/** Whether the file to copy is missing, rather than the folder to copy it into. */
async function isMissingSource(error: unknown, temporary: string): Promise<boolean> {
  const path = (error as NodeJS.ErrnoException).path ?? '';
  const folder = dirname(temporary);
  // The error names the folder, one above it, or a file in it.
  if (`${folder}${sep}`.startsWith(`${path}${sep}`) || dirname(path) === folder) return false;
  return stat(path).then(
    () => false,
    () => true,
  );
}
