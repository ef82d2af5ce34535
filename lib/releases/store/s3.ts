import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { DomainError } from '../../errors.ts';
import { createUnderLock } from './lock.ts';
import { type ObjectInfo, type Objects, type Waiting, checkKey, storeError } from './objects.ts';

export interface S3Options {
  readonly bucket: string;
  /** Without leading or trailing slash; may be empty. */
  readonly prefix: string;
  /** Of an S3-compatible store. Default: AWS_ENDPOINT_URL_S3, else AWS. */
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  /** Puts the bucket into the path instead of the host name, as most S3-compatible stores require. */
  readonly pathStyle?: boolean | undefined;
  /** Whether the store honours If-None-Match on writes; `auto` tries it before the first one. */
  readonly conditionalWrites?: 'auto' | 'yes' | 'no' | undefined;
}

/** Larger files are uploaded in parts, each of which can be retried. */
const partBytes = 16 * 1024 * 1024;
/** Sorts after every character of a key. */
const last = '~';

/**
 * S3-compatible object storage. The AWS SDK finds the credentials and, where they are not given, region
 * and endpoint: in the environment, shared files, a pod's web identity, the instance role.
 */
export class S3Objects implements Objects {
  readonly url: string;
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  #conditional: Promise<boolean> | undefined;

  constructor(options: S3Options) {
    const { bucket, prefix, endpoint, region, pathStyle = endpoint !== undefined } = options;
    const { conditionalWrites = 'auto' } = options;
    this.#bucket = bucket;
    this.#prefix = prefix === '' ? '' : `${prefix}/`;
    this.url = `s3://${bucket}/${prefix}`;
    this.#client = new S3Client({
      ...(endpoint !== undefined && { endpoint }),
      ...(region !== undefined && { region }),
      forcePathStyle: pathStyle,
      maxAttempts: 4,
      // Trailing checksums are refused by many S3-compatible stores; releases have digests of their own.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: 5000,
        requestTimeout: 60_000,
        socketTimeout: 60_000,
        throwOnRequestTimeout: true,
      },
    });
    if (conditionalWrites !== 'auto') {
      this.#conditional = Promise.resolve(conditionalWrites === 'yes');
    }
  }

  async read(key: string, { signal }: Waiting = {}): Promise<Buffer | undefined> {
    try {
      const { Body } = await this.#client.send(
        new GetObjectCommand(this.#at(key)),
        sending(signal),
      );
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    } catch (error) {
      if (isNoKey(error)) return undefined;
      throw this.#explain(error, key, signal);
    }
  }

  async write(key: string, bytes: Uint8Array, { signal }: Waiting = {}): Promise<void> {
    try {
      const put = new PutObjectCommand({ ...this.#at(key), Body: bytes });
      await this.#client.send(put, sending(signal));
    } catch (error) {
      throw this.#explain(error, key, signal);
    }
  }

  async create(key: string, bytes: Uint8Array, waiting: Waiting = {}): Promise<boolean> {
    this.#conditional ??= this.#probe().catch((error: unknown) => {
      this.#conditional = undefined;
      throw error;
    });
    if (!(await this.#conditional)) return createUnderLock(this, key, bytes, waiting);
    if (await this.#createConditionally(key, bytes, waiting)) return true;
    // The response to an earlier attempt of this request may have been lost.
    return (await this.read(key, waiting))?.equals(bytes) ?? false;
  }

  async #createConditionally(
    key: string,
    bytes: Uint8Array,
    { signal }: Waiting = {},
  ): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      try {
        const put = new PutObjectCommand({ ...this.#at(key), Body: bytes, IfNoneMatch: '*' });
        await this.#client.send(put, sending(signal));
        return true;
      } catch (error) {
        if (statusOf(error) === 412) return false;
        // 409: another conditional write of the key is under way, and may yet fail.
        if (statusOf(error) !== 409 || attempt === 10) throw this.#explain(error, key, signal);
        await delay(20 * attempt, undefined, signal ? { signal } : {});
      }
    }
  }

  /** Whether the store honours the condition: it then refuses the second of two writes. */
  async #probe(): Promise<boolean> {
    const key = `probes/${randomUUID()}`;
    try {
      await this.write(key, Buffer.from('1'));
      return !(await this.#createConditionally(key, Buffer.from('2')));
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (statusOf(cause) === 501 || statusOf(cause) === 400) return false;
      throw error;
    } finally {
      await this.remove(key);
    }
  }

  async remove(key: string, { signal }: Waiting = {}): Promise<void> {
    try {
      await this.#client.send(new DeleteObjectCommand(this.#at(key)), sending(signal));
    } catch (error) {
      if (!isNoKey(error)) throw this.#explain(error, key, signal);
    }
  }

  async *list(
    prefix: string,
    { after, signal }: Waiting & { readonly after?: string } = {},
  ): AsyncGenerator<ObjectInfo> {
    for await (const { Contents = [] } of this.#pages(prefix, after, undefined, signal)) {
      for (const { Key = '', Size = 0, LastModified } of Contents) {
        const key = Key.slice(this.#prefix.length);
        yield { key, bytes: Size, modifiedMs: LastModified?.getTime() ?? 0 };
      }
    }
  }

  async *folders(
    prefix: string,
    { after, signal }: Waiting & { readonly after?: string } = {},
  ): AsyncGenerator<string> {
    const start = after === undefined ? undefined : `${prefix}${after}/${last}`;
    for await (const { CommonPrefixes = [] } of this.#pages(prefix, start, '/', signal)) {
      for (const { Prefix = '' } of CommonPrefixes) {
        const name = Prefix.slice(this.#prefix.length + prefix.length, -1);
        if (after === undefined || name > after) yield name;
      }
    }
  }

  async *#pages(
    prefix: string,
    after: string | undefined,
    delimiter: string | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<ListObjectsV2CommandOutput> {
    let token: string | undefined;
    do {
      const command = new ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: `${this.#prefix}${prefix}`,
        Delimiter: delimiter,
        StartAfter: after === undefined || after === '' ? undefined : `${this.#prefix}${after}`,
        ContinuationToken: token,
      });
      let page: ListObjectsV2CommandOutput;
      try {
        page = await this.#client.send(command, sending(signal));
      } catch (error) {
        throw this.#explain(error, prefix, signal);
      }
      yield page;
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async upload(key: string, path: string, { signal }: Waiting = {}): Promise<void> {
    const { size } = await stat(path);
    if (size <= partBytes) {
      await using file = await open(path);
      return this.write(key, await file.readFile(), { signal });
    }
    const upload = new Upload({
      client: this.#client,
      params: { ...this.#at(key), Body: createReadStream(path, { highWaterMark: 1 << 20 }) },
      partSize: Math.max(partBytes, Math.ceil(size / 9000)),
      queueSize: 4,
    });
    const abort = (): void => void upload.abort();
    signal?.throwIfAborted();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await upload.done();
    } catch (error) {
      throw this.#explain(error, key, signal);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  async download(key: string, path: string, { signal }: Waiting = {}): Promise<void> {
    try {
      const { Body } = await this.#client.send(
        new GetObjectCommand(this.#at(key)),
        sending(signal),
      );
      await using file = await open(path, 'w');
      await file.writeFile(Body as Readable, signal ? { signal } : {});
      await file.sync();
    } catch (error) {
      if (!isNoKey(error)) throw this.#explain(error, key, signal);
      throw storeError('NOT_FOUND', 'OBJECT_NOT_FOUND', this.url, `${key} is not there`, error);
    }
  }

  close(): void {
    this.#client.destroy();
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#bucket, Key: `${this.#prefix}${checkKey(key)}` };
  }

  /** The SDK has already retried where that could help. */
  #explain(error: unknown, key: string, signal: AbortSignal | undefined): unknown {
    if (error instanceof DomainError) return error;
    if (signal?.aborted) return signal.reason;
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOSPC' || code === 'EDQUOT') return error;
    const name = error instanceof Error ? error.name : 'unknown';
    if (name === 'NoSuchBucket') {
      return storeError('NOT_FOUND', 'STORE_NOT_FOUND', this.url, 'there is no such bucket', error);
    }
    const status = statusOf(error);
    if (status === 401 || status === 403 || name === 'CredentialsProviderError') {
      const message = `may not be used (${name}): check the credentials and the bucket's policy`;
      return storeError('FAILED_PRECONDITION', 'STORE_DENIED', this.url, message, error);
    }
    const what = `${key} cannot be read or written (${status ?? ''}${status ? ' ' : ''}${name})`;
    return storeError('UNAVAILABLE', 'STORE_UNAVAILABLE', this.url, what, error);
  }
}

const sending = (signal: AbortSignal | undefined) => (signal ? { abortSignal: signal } : {});

const statusOf = (error: unknown): number | undefined =>
  error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;

const isNoKey = (error: unknown): boolean =>
  error instanceof S3ServiceException && (error.name === 'NoSuchKey' || error.name === 'NotFound');
