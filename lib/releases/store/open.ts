import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { invalidArgument } from '../../errors.ts';
import { LocalObjects } from './local.ts';
import type { Objects } from './objects.ts';
import { S3Objects } from './s3.ts';
import { type OpenedRelease, type OpenOptions, ReleaseStore } from './store.ts';

export interface StoreOptions {
  /** Caches the files of a remote store. Default: a folder below the system's temporary one. */
  readonly cacheDir?: string | undefined;
}

/**
 * Opens a store by its URL: `file:///folder` (or a path), or
 * `s3://bucket/prefix?endpoint=&region=&path-style=true|false&conditional-writes=auto|yes|no`.
 * Throws INVALID_ARGUMENT for any other. It reads and writes nothing yet.
 */
export function openStore(url: string, { cacheDir }: StoreOptions = {}): ReleaseStore {
  return new ReleaseStore(openObjects(url), resolve(cacheDir ?? join(tmpdir(), 'radscribe-cache')));
}

/** Fetches and checks a release. See `ReleaseStore.open`. */
export const openRelease = (
  store: ReleaseStore,
  id: string,
  options: OpenOptions = {},
): Promise<OpenedRelease> => store.open(id, options);

const wrong = (message: string) => invalidArgument('STORE_URL', 'store', message);

function openObjects(url: string): Objects {
  if (url === '') throw wrong('is empty; expected file:///folder or s3://bucket/prefix');
  if (!/^[a-z][a-z0-9+.-]+:/i.test(url)) return new LocalObjects(resolve(url));
  const parsed = URL.parse(url);
  if (parsed?.protocol === 'file:') return new LocalObjects(fileURLToPath(parsed));
  if (parsed?.protocol !== 's3:' || parsed.hostname === '') {
    throw wrong(`${JSON.stringify(url.slice(0, 200))} is not file:///folder or s3://bucket/prefix`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw wrong(
      'credentials do not belong in the URL; the AWS SDK reads them from the environment',
    );
  }
  const options = Object.fromEntries(parsed.searchParams);
  const known = ['endpoint', 'region', 'path-style', 'conditional-writes'];
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) throw wrong(`${unknown} is unknown; expected ${known.join(', ')}`);
  const conditionalWrites = one(options, 'conditional-writes', ['auto', 'yes', 'no']);
  const pathStyle = one(options, 'path-style', ['true', 'false']);
  return new S3Objects({
    bucket: parsed.hostname,
    prefix: parsed.pathname
      .split('/')
      .filter((part) => part !== '')
      .join('/'),
    endpoint: options['endpoint'],
    region: options['region'],
    ...(pathStyle !== undefined && { pathStyle: pathStyle === 'true' }),
    conditionalWrites,
  });
}

function one<T extends string>(
  options: Readonly<Record<string, string>>,
  name: string,
  allowed: readonly T[],
): T | undefined {
  const given = options[name];
  const found = allowed.find((value) => value === given);
  if (given !== undefined && found === undefined) {
    throw wrong(`${name} is ${JSON.stringify(given)}; expected ${allowed.join(', ')}`);
  }
  return found;
}
