import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DomainError } from '../../errors.ts';
import type { FileDigest } from '../manifest.ts';
import { verifyFile } from '../verify.ts';
import type { Objects, Waiting } from './objects.ts';

/** A temporary file of this age was left by a process that died while it fetched. */
const abandonedMs = 3_600_000;

/**
 * Files of a remote store, cached in a local folder as `{release}/{file}`. Only files whose digest was
 * checked are there. Processes may share the folder; within one, callers that want the same file at the
 * same time share one fetch.
 */
export class FileCache {
  readonly #folder: string;
  readonly #objects: Objects;
  readonly #fetching = new Map<string, Promise<void>>();

  constructor(folder: string, objects: Objects) {
    this.#folder = folder;
    this.#objects = objects;
  }

  folderOf(release: string): string {
    return join(this.#folder, release);
  }

  /** Fetches the file unless it is there with the right digest. Throws DATA_LOSS where the store's is not. */
  async ensure(
    release: string,
    file: string,
    expected: FileDigest,
    { signal }: Waiting = {},
  ): Promise<void> {
    const path = join(this.folderOf(release), file);
    signal?.throwIfAborted();
    const running = this.#fetching.get(path);
    if (running) {
      try {
        return await untilAborted(running, signal);
      } catch (error) {
        // The caller that started the fetch may have cancelled it; this one has not.
        signal?.throwIfAborted();
        if (error instanceof DomainError) throw error;
        return await this.ensure(release, file, expected, { signal });
      }
    }
    const mine = this.#verified(path, release, file, expected, signal).finally(() => {
      this.#fetching.delete(path);
    });
    this.#fetching.set(path, mine);
    return mine;
  }

  async #verified(
    path: string,
    release: string,
    file: string,
    expected: FileDigest,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    try {
      await verifyFile(path, expected, { release, file }, signal);
      return;
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
    }
    const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
    try {
      await mkdir(dirname(path), { recursive: true });
      await this.#objects.download(`releases/${release}/${file}`, temporary, { signal });
      await verifyFile(temporary, expected, { release, file }, signal);
      await rename(temporary, path);
    } catch (error) {
      throw this.#explain(error, release, file);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  #explain(error: unknown, release: string, file: string): unknown {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      const message = `cache ${this.#folder}: no space is left for ${file} of ${release}; free some or remove other releases from it`;
      return new DomainError('RESOURCE_EXHAUSTED', 'CACHE_FULL', message, {
        field: 'cacheDir',
        cause: error,
      });
    }
    if (error instanceof DomainError && error.code === 'NOT_FOUND') {
      return new DomainError(
        'DATA_LOSS',
        'RELEASE_CORRUPT',
        `release ${release}: ${file} is missing in the store`,
        { field: file, metadata: { release, file }, cause: error },
      );
    }
    return error;
  }

  /** Removes the releases that `keep` does not name, and partial files of processes that died. */
  async prune(keep: ReadonlySet<string>): Promise<string[]> {
    const removed: string[] = [];
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names) {
      const folder = join(this.#folder, name);
      if (!keep.has(name) && /^rs-[0-9a-f]{24}$/.test(name)) {
        await rm(folder, { recursive: true, force: true });
        removed.push(name);
        continue;
      }
      for (const file of await readdir(folder).catch(() => [])) {
        if (!file.endsWith('.tmp')) continue;
        const found = await stat(join(folder, file)).catch(() => undefined);
        if (found && Date.now() - found.mtimeMs > abandonedMs) {
          await rm(join(folder, file), { force: true });
        }
      }
    }
    return removed;
  }
}

function untilAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return work;
  const { promise, reject } = Promise.withResolvers<void>();
  const abort = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  return Promise.race([work, promise]).finally(() => signal.removeEventListener('abort', abort));
}
