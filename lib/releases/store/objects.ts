import { DomainError, invalidArgument } from '../../errors.ts';

export interface ObjectInfo {
  readonly key: string;
  readonly bytes: number;
  /** By the clock of the backend. */
  readonly modifiedMs: number;
}

export interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

/**
 * What the store needs of a place that keeps bytes under keys (`a/b/c`). Both backends promise, and one
 * suite checks, that a key holds either what it held before or the whole new content, and that what
 * was written is seen by every read and list that starts afterwards.
 *
 * Throws UNAVAILABLE where the backend does not answer, RESOURCE_EXHAUSTED where it is full, and
 * FAILED_PRECONDITION where it refuses.
 */
export interface Objects {
  /** For messages; holds no secret. */
  readonly url: string;
  read(key: string, waiting?: Waiting): Promise<Buffer | undefined>;
  write(key: string, bytes: Uint8Array, waiting?: Waiting): Promise<void>;
  /** Writes where nothing is; of any number of writers exactly one is told true. */
  create(key: string, bytes: Uint8Array, waiting?: Waiting): Promise<boolean>;
  /** Does nothing where nothing is. */
  remove(key: string, waiting?: Waiting): Promise<void>;
  /** What lies below `prefix` (which ends in /), in the order of the keys, those after `after` only. */
  list(prefix: string, options?: Waiting & { readonly after?: string }): AsyncIterable<ObjectInfo>;
  /** Names of the folders right below `prefix`, in order, those after the name `after` only. */
  folders(prefix: string, options?: Waiting & { readonly after?: string }): AsyncIterable<string>;
  upload(key: string, path: string, waiting?: Waiting): Promise<void>;
  /** Throws NOT_FOUND. What `path` holds after an error is undefined. */
  download(key: string, path: string, waiting?: Waiting): Promise<void>;
  /** Removes what writers that died before `beforeMs` left half written, where that is visible. */
  tidy?(beforeMs: number, waiting?: Waiting): Promise<void>;
  /** Where the objects can be read in place, of a backend that has them as files. */
  localPath?(key: string): string;
  close(): void;
}

const segment = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** Throws INVALID_ARGUMENT for a key that might leave the store's own folder. */
export function checkKey(key: string): string {
  if (key.split('/').every((part) => segment.test(part))) return key;
  throw invalidArgument('STORE_KEY', 'key', `${JSON.stringify(key.slice(0, 200))} is not a key`);
}

const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Throws INVALID_ARGUMENT for what cannot name a channel or a tag. */
export function checkName(name: string, field: string): string {
  if (namePattern.test(name)) return name;
  const came = JSON.stringify(name.slice(0, 80));
  const message = `got ${came}, expected 1 to 63 of a-z, 0-9, ., _ and -, a letter or digit first`;
  throw invalidArgument('STORE_NAME', field, message);
}

/** Throws INVALID_ARGUMENT for what cannot name an instance; host and pod names can. */
export function checkInstance(name: string): string {
  if (segment.test(`${name}.json`)) return name;
  const came = JSON.stringify(name.slice(0, 80));
  const message = `got ${came}, expected up to 195 letters, digits, ., _ and -`;
  throw invalidArgument('STORE_NAME', 'instance', message);
}

export function storeError(
  code: 'UNAVAILABLE' | 'RESOURCE_EXHAUSTED' | 'FAILED_PRECONDITION' | 'NOT_FOUND',
  reason: string,
  url: string,
  message: string,
  cause?: unknown,
): DomainError {
  return new DomainError(code, reason, `store ${url}: ${message}`, { field: 'store', cause });
}

/** An object that a program wrote as JSON; DATA_LOSS where it is none. */
export function readJson(bytes: Uint8Array, key: string, url: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new DomainError('DATA_LOSS', 'STORE_CORRUPT', `store ${url}: ${key} is not JSON`, {
      field: key,
      cause,
    });
  }
}

export const jsonBytes = (value: unknown): Uint8Array =>
  Buffer.from(`${JSON.stringify(value, undefined, 1)}\n`);
