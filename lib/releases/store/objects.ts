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
 * What the store needs of a backend that keeps bytes under keys (`a/b/c`). Both backends promise, and one
 * suite checks, that a key holds either its former or the whole new content, and that every read and
 * list that starts after a write returns what was written.
 *
 * Throws UNAVAILABLE where the backend does not answer, RESOURCE_EXHAUSTED where it is full, and
 * FAILED_PRECONDITION where it refuses.
 */
export interface Objects {
  /** For messages; contains no secret. */
  readonly url: string;
  read(key: string, waiting?: Waiting): Promise<Buffer | undefined>;
  write(key: string, bytes: Uint8Array, waiting?: Waiting): Promise<void>;
  /** Writes only where no object exists; of any number of writers exactly one gets true. */
  create(key: string, bytes: Uint8Array, waiting?: Waiting): Promise<boolean>;
  /** Does nothing where no object exists. */
  remove(key: string, waiting?: Waiting): Promise<void>;
  /** The objects below `prefix` (which ends in /), in the order of their keys, only those after `after`. */
  list(prefix: string, options?: Waiting & { readonly after?: string }): AsyncIterable<ObjectInfo>;
  /** Names of the folders directly below `prefix`, in order, only those after the name `after`. */
  folders(prefix: string, options?: Waiting & { readonly after?: string }): AsyncIterable<string>;
  upload(key: string, path: string, waiting?: Waiting): Promise<void>;
  /** Throws NOT_FOUND. The content of `path` after an error is undefined. */
  download(key: string, path: string, waiting?: Waiting): Promise<void>;
  /** Removes partial files that writers left which died before `beforeMs`, where the backend has them. */
  tidy?(beforeMs: number, waiting?: Waiting): Promise<void>;
  /** The file of an object, of a backend that keeps them as local files. */
  localPath?(key: string): string;
  close(): void;
}

const segment = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** Throws INVALID_ARGUMENT for a key that might lead out of the store's folder. */
export function checkKey(key: string): string {
  if (key.split('/').every((part) => segment.test(part))) return key;
  throw invalidArgument('STORE_KEY', 'key', `${JSON.stringify(key.slice(0, 200))} is not a key`);
}

const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Throws INVALID_ARGUMENT for an invalid name of a channel or a tag. */
export function checkName(name: string, field: string): string {
  if (namePattern.test(name)) return name;
  const came = JSON.stringify(name.slice(0, 80));
  const message = `got ${came}, expected 1 to 63 of a-z, 0-9, ., _ and -, a letter or digit first`;
  throw invalidArgument('STORE_NAME', field, message);
}

/** Throws INVALID_ARGUMENT for an invalid name of an instance; host and pod names are valid. */
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

/** The JSON of an object. Throws DATA_LOSS where it is not JSON. */
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
