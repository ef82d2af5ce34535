import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DomainError } from '../../errors.ts';
import { checkGate, standardGate } from '../gate.ts';
import { type Manifest, checkReleaseId, isReleaseId, manifestName } from '../manifest.ts';
import { readManifest, verifyFile, verifyFolder } from '../verify.ts';
import { FileCache } from './cache.ts';
import { type ChannelState, type MoveOptions, Channels } from './channels.ts';
import { type Hold, type HoldOptions, hold } from './holds.ts';
import { type Objects, type Waiting, checkName, jsonBytes, readJson } from './objects.ts';
import { type WatchOptions, watchChannels } from './watch.ts';

export type ReleasePart = 'vision' | 'labeler' | 'generator';

/** Files that only one part of the chain reads; every part reads the others. */
const partFiles: Readonly<Record<ReleasePart, readonly string[]>> = {
  vision: ['vision.onnx', 'vision.safetensors'],
  labeler: ['labeler.onnx', 'labeler.safetensors'],
  generator: ['encoder.onnx', 'decoder.onnx', 'generator.safetensors'],
};

export interface OpenOptions extends Waiting {
  /** Fetch and check only the files that these parts read. Default: all. */
  readonly parts?: readonly ReleasePart[] | undefined;
}

export interface OpenedRelease {
  readonly manifest: Manifest;
  /** Holds the release's files, whose digests were checked; do not write there. */
  readonly folder: string;
}

export interface PromoteOptions extends MoveOptions {
  /** Metrics that may not get worse, each TABLE.METRIC. Default: `standardGate`. */
  readonly gate?: readonly string[] | undefined;
  /** Promote whatever the metrics say. */
  readonly force?: boolean | undefined;
  /** Share of the variant's requests, 0 to 1; default: what the weighted channels leave. */
  readonly weight?: number | undefined;
}

export interface ListOptions extends Waiting {
  /** Default 50. */
  readonly pageSize?: number | undefined;
  readonly pageToken?: string | undefined;
}

export interface ReleasePage {
  /** Sorted by id. */
  readonly releases: readonly Manifest[];
  /** Releases whose manifest is damaged, with the reason. */
  readonly damaged: readonly { readonly id: string; readonly message: string }[];
  /** For the next page; absent on the last. */
  readonly nextPageToken?: string;
}

/**
 * Releases, and the channels and tags that name them. A release is published file by file, its manifest
 * last: it exists, complete, from the moment its manifest does, and is never changed.
 */
export class ReleaseStore {
  readonly objects: Objects;
  readonly #channels: Channels;
  readonly #cache: FileCache;

  constructor(objects: Objects, cacheDir: string) {
    this.objects = objects;
    this.#channels = new Channels(objects);
    this.#cache = new FileCache(cacheDir, objects);
  }

  get url(): string {
    return this.objects.url;
  }

  /** The channels, but not what moves them: that is `promote` and `rollback`, here. */
  get channels(): Omit<Channels, 'move' | 'rollback'> {
    return this.#channels;
  }

  /**
   * Publishes the release in `folder`, as `writeRelease` made it, after checking every file. Publishing
   * it again changes nothing.
   */
  async publish(folder: string, { signal }: Waiting = {}): Promise<Manifest> {
    const manifest = await verifyFolder(folder, signal);
    const { id } = manifest;
    if (await this.has(id, { signal })) return manifest;
    const held = await hold(this.objects, `publish-${randomUUID()}`, [id], { signal });
    try {
      for (const file of Object.keys(manifest.files)) {
        signal?.throwIfAborted();
        await this.objects.upload(`releases/${id}/${file}`, join(folder, file), { signal });
      }
      const bytes = await readFile(join(folder, manifestName));
      readManifest(bytes, id);
      await this.objects.write(releaseKey(id), bytes, { signal });
    } finally {
      await held.release().catch(() => {}); // a hold expires
    }
    return manifest;
  }

  async has(id: string, waiting: Waiting = {}): Promise<boolean> {
    return (await this.objects.read(releaseKey(checkReleaseId(id)), waiting)) !== undefined;
  }

  /** Throws NOT_FOUND, or DATA_LOSS where the manifest is damaged. */
  async manifest(id: string, waiting: Waiting = {}): Promise<Manifest> {
    const bytes = await this.objects.read(releaseKey(checkReleaseId(id)), waiting);
    if (bytes) return readManifest(bytes, id);
    const message = `release ${id} is not in store ${this.url}`;
    throw new DomainError('NOT_FOUND', 'RELEASE_NOT_FOUND', message, { field: 'release' });
  }

  /**
   * Fetches a release, where the store is remote, and checks every file against its digest. Throws
   * NOT_FOUND, and DATA_LOSS naming the file whose bytes are not those that were released.
   */
  async open(id: string, { parts, signal }: OpenOptions = {}): Promise<OpenedRelease> {
    const manifest = await this.manifest(id, { signal });
    const local = this.objects.localPath?.(`releases/${id}`);
    const skipped = parts && unread(parts);
    const files = Object.entries(manifest.files).filter(([file]) => !skipped?.has(file));
    for (const [file, expected] of files) {
      if (local === undefined) await this.#cache.ensure(id, file, expected, { signal });
      else await verifyFile(join(local, file), expected, { release: id, file }, signal);
    }
    return { manifest, folder: local ?? this.#cache.folderOf(id) };
  }

  /** Releases by id, a page at a time; a page may be short, because unfinished publications are left out. */
  async list({ pageSize = 50, pageToken, signal }: ListOptions = {}): Promise<ReleasePage> {
    const after = pageToken === undefined ? {} : { after: checkReleaseId(pageToken, 'pageToken') };
    const ids: string[] = [];
    let more = false;
    for await (const id of this.objects.folders('releases/', { ...after, signal })) {
      if (!isReleaseId(id)) continue;
      more = ids.length >= pageSize;
      if (more) break;
      ids.push(id);
    }
    const damaged: { id: string; message: string }[] = [];
    const found = await Promise.all(
      ids.map((id) =>
        this.manifest(id, { signal }).catch((error: unknown) => {
          if (!(error instanceof DomainError)) throw error;
          if (error.code === 'NOT_FOUND') return undefined;
          if (error.code !== 'DATA_LOSS' && error.code !== 'FAILED_PRECONDITION') throw error;
          damaged.push({ id, message: error.message });
          return undefined;
        }),
      ),
    );
    const releases = found.filter((manifest) => manifest !== undefined);
    const last = more ? ids.at(-1) : undefined;
    return { releases, damaged, ...(last !== undefined && { nextPageToken: last }) };
  }

  /** A release by its id, a tag, or a channel. Throws NOT_FOUND. */
  async resolve(name: string, waiting: Waiting = {}): Promise<string> {
    if (isReleaseId(name)) return (await this.manifest(name, waiting)).id;
    const tagged = await this.tagged(name, waiting);
    if (tagged !== undefined) return tagged;
    const channel = await this.channels.find(name, waiting);
    if (channel) return channel.release;
    const message = `store ${this.url} has no release, tag or channel ${name}`;
    throw new DomainError('NOT_FOUND', 'RELEASE_NOT_FOUND', message, { field: 'release' });
  }

  /**
   * Points a channel at a release, unless the gate refuses it (see gate.ts): the one way in which a
   * release comes to a channel, for the command line, the trainer service and training runs alike. Every
   * file of the release is read first, because a part that only one service could not load would leave
   * the services without a release in common.
   *
   * Throws NOT_FOUND, DATA_LOSS for a damaged file, and FAILED_PRECONDITION: RELEASE_WORSE, or
   * CHANNEL_MOVED where another writer moved the channel meanwhile.
   */
  promote(
    channel: string,
    release: string,
    { gate = standardGate, force = false, ...options }: PromoteOptions = {},
  ): Promise<ChannelState> {
    const { signal } = options;
    return this.#holding(release, options, async () => {
      const now = await this.#channels.find(channel, { signal });
      if (now?.release !== release) {
        const { manifest } = await this.open(release, { signal });
        if (now && !force) {
          checkGate(channel, await this.manifest(now.release, { signal }), manifest, gate);
        }
      }
      // What was compared is what is replaced.
      const compared = force ? undefined : (now?.generation ?? 0);
      const expectedGeneration = options.expectedGeneration ?? compared;
      return this.#channels.move(channel, release, { ...options, expectedGeneration });
    });
  }

  /**
   * Points a channel at the release that it pointed to before. No gate: it has served already, and a
   * rollback must not be refused.
   */
  async rollback(channel: string, options: MoveOptions = {}): Promise<ChannelState> {
    const history = await this.#channels.history(channel, options);
    const [now] = history;
    // Without a previous release, Channels throws the error.
    if (!now?.previous) return this.#channels.rollback(channel, options);
    const expectedGeneration = options.expectedGeneration ?? now.generation;
    return this.#holding(now.previous, options, () =>
      this.#channels.rollback(channel, { ...options, expectedGeneration }),
    );
  }

  /** Runs `work` while a hold keeps the release, which must be in the store, from being collected. */
  async #holding<T>(release: string, { signal }: Waiting, work: () => Promise<T>): Promise<T> {
    const held = await hold(this.objects, `move-${randomUUID()}`, [checkReleaseId(release)], {
      signal,
    });
    try {
      await this.manifest(release, { signal });
      return await work();
    } finally {
      await held.release().catch(() => {}); // a hold expires
    }
  }

  /** Names a release permanently. Throws ALREADY_EXISTS where the tag names another. */
  async tag(name: string, release: string, options: Waiting = {}): Promise<void> {
    checkName(name, 'tag');
    await this.#holding(release, options, async () => {
      const bytes = jsonBytes({ release });
      if (await this.objects.create(`tags/${name}.json`, bytes, options)) return;
      const other = await this.tagged(name, options);
      if (other === release) return;
      const message = `tag ${name} names ${other}; remove it first`;
      throw new DomainError('ALREADY_EXISTS', 'TAG_EXISTS', message, { field: 'tag' });
    });
  }

  async untag(name: string, options: Waiting = {}): Promise<void> {
    await this.objects.remove(`tags/${checkName(name, 'tag')}.json`, options);
  }

  async tagged(name: string, options: Waiting = {}): Promise<string | undefined> {
    const key = `tags/${checkName(name, 'tag')}.json`;
    const bytes = await this.objects.read(key, options);
    if (!bytes) return undefined;
    const { release } = readJson(bytes, key, this.url) as { release?: unknown };
    return checkReleaseId(String(release), key);
  }

  /** Release ids by tag. */
  async tags(options: Waiting = {}): Promise<ReadonlyMap<string, string>> {
    const tags = new Map<string, string>();
    for await (const { key } of this.objects.list('tags/', options)) {
      const name = key.slice('tags/'.length, -'.json'.length);
      const release = await this.tagged(name, options);
      if (release !== undefined) tags.set(name, release);
    }
    return tags;
  }

  /** Keeps releases in the store while `instance` runs. See holds.ts. */
  hold(instance: string, releases: readonly string[], options: HoldOptions = {}): Promise<Hold> {
    return hold(this.objects, instance, releases, options);
  }

  /** The channels' states, now and after every move. See watch.ts. */
  watch(options: WatchOptions = {}): AsyncGenerator<ReadonlyMap<string, ChannelState>> {
    return watchChannels(this.#channels, options);
  }

  /** Removes releases that `keep` does not name from the local cache of a remote store. */
  pruneCache(keep: Iterable<string>): Promise<string[]> {
    return this.objects.localPath ? Promise.resolve([]) : this.#cache.prune(new Set(keep));
  }

  close(): void {
    this.objects.close();
  }
}

export const releaseKey = (id: string): string => `releases/${id}/${manifestName}`;

function unread(parts: readonly ReleasePart[]): ReadonlySet<string> {
  const others = (Object.keys(partFiles) as ReleasePart[]).filter((part) => !parts.includes(part));
  return new Set(others.flatMap((part) => partFiles[part]));
}
