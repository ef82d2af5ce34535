import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../data/files.ts';
import { DomainError } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import type { Session } from '../runtime/backend.ts';
import { writeAtomically } from '../atomic.ts';
import { writing } from './data/disk.ts';
import type { PreparedStudy } from './data/prepared.ts';

type FeatureKind = 'tokens' | 'pooled';

/** The features that a frozen vision encoder gives of the studies, float32, computed once and kept on disk. */
export interface FeatureCache {
  /** Shape of one study's features. */
  shapeOf(kind: FeatureKind): readonly number[];
  read(kind: FeatureKind, study: PreparedStudy): Promise<Float32Array>;
  close(): Promise<void>;
}

export interface FeatureRequest {
  readonly folder: string;
  /** Of the vision encoder. With the studies they determine the features, and the cache's name. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly studies: readonly PreparedStudy[];
  readonly fingerprint: string;
  readonly batch: number;
  /** `grey` [batch, 1, H, W] to `tokens` and `pooled`; called only where features are missing. */
  readonly load: () => Promise<Session>;
  readonly grey: (studies: readonly PreparedStudy[]) => Promise<Tensor>;
  readonly onProgress: (done: number, total: number) => void;
}

interface Manifest {
  readonly shapes: Readonly<Record<FeatureKind, readonly number[]>>;
  readonly places: Readonly<Record<string, number>>;
}

function digestOfParameters(parameters: ReadonlyMap<string, Tensor>): string {
  const hash = createHash('sha256');
  for (const name of [...parameters.keys()].sort()) {
    const { data } = parameters.get(name) as Tensor;
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

/** Opens the cached features of these studies under these weights, and computes them where they are missing. */
export async function openFeatures(request: FeatureRequest): Promise<FeatureCache> {
  const { folder, parameters, studies, fingerprint } = request;
  const key = createHash('sha256')
    .update(
      `${digestOfParameters(parameters)} ${fingerprint} ${studies.map(({ id }) => id).join()}`,
    )
    .digest('hex')
    .slice(0, 16);
  const base = join(folder, `features-${key}`);
  const manifestPath = `${base}.json`;
  if (!(await exists(manifestPath))) {
    await writing(base, async () => {
      await mkdir(folder, { recursive: true });
      await compute(request, base);
    });
  }
  const manifest = JSON.parse(await readFile(manifestPath, 'utf8')) as Manifest;
  const files = { tokens: await open(`${base}.tokens`), pooled: await open(`${base}.pooled`) };
  return {
    shapeOf: (kind) => manifest.shapes[kind],
    read: (kind, study) => readFeature(files[kind], manifest, kind, study, base),
    close: async () => {
      await files.tokens.close();
      await files.pooled.close();
    },
  };
}

async function readFeature(
  file: FileHandle,
  { shapes, places }: Manifest,
  kind: FeatureKind,
  { id }: PreparedStudy,
  base: string,
): Promise<Float32Array> {
  const place = places[id];
  if (place === undefined) throw new RangeError(`no features were computed for ${id}`);
  const values = new Float32Array(shapes[kind].reduce((product, dim) => product * dim, 1));
  const bytes = new Uint8Array(values.buffer);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, place * bytes.length);
  if (bytesRead === bytes.length) return values;
  const message = `${base}.${kind} ends within study ${place}; delete it to compute it again`;
  throw new DomainError('DATA_LOSS', 'CACHE_TRUNCATED', message, { field: base });
}

/** The manifest is written last: without it, the features are computed again. */
async function compute(request: FeatureRequest, base: string): Promise<void> {
  const { studies, batch, load, grey, onProgress } = request;
  const session = await load();
  const temporary = { tokens: `${base}.tokens.tmp`, pooled: `${base}.pooled.tmp` };
  const shapes: Record<FeatureKind, readonly number[]> = { tokens: [], pooled: [] };
  try {
    await using tokens = await open(temporary.tokens, 'w');
    await using pooled = await open(temporary.pooled, 'w');
    const files = { tokens, pooled };
    for (let first = 0; first < studies.length; first += batch) {
      const part = studies.slice(first, first + batch);
      const { fetched } = await session.run({ grey: await grey(part) }, { transfer: true });
      for (const kind of ['tokens', 'pooled'] as const) {
        const { data, shape } = fetched[kind] as Tensor;
        shapes[kind] = shape.slice(1);
        await files[kind].write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      }
      onProgress(first + part.length, studies.length);
    }
    await tokens.sync();
    await pooled.sync();
  } finally {
    await session.dispose();
  }
  for (const kind of ['tokens', 'pooled'] as const)
    await rename(temporary[kind], `${base}.${kind}`);
  const places = Object.fromEntries(studies.map(({ id }, place) => [id, place]));
  await writeAtomically(`${base}.json`, async (file) => {
    await file.writeFile(JSON.stringify({ shapes, places } satisfies Manifest));
  });
}

export async function dropFeatures(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}
