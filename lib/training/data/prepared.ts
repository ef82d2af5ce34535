import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  type Dataset,
  type SplitName,
  type Study,
  type StudyRecord,
  splitNames,
} from '../../data/dataset.ts';
import { exists } from '../../data/files.ts';
import { shuffled } from '../../data/order.ts';
import { type Position, startOf, streamStudies } from '../../data/stream.ts';
import { DomainError } from '../../errors.ts';
import { type Preprocessing, resize } from '../../image/preprocess.ts';
import { type LabelState, observations } from '../../text/labels/observations.ts';
import { writing } from './disk.ts';

/** A study as training reads it: its text, its labels, and the place of its pixels. */
export interface PreparedStudy {
  readonly id: string;
  readonly split: SplitName;
  readonly findings: string;
  readonly impression: string;
  readonly indication: string;
  /** In the order of the observations. */
  readonly labels: readonly LabelState[];
  /** Place in the file of pixels. */
  readonly index: number;
}

export interface Prepared {
  readonly fingerprint: string;
  readonly name: string;
  /** Ordered by id, without damaged studies and empty reports. */
  readonly splits: Readonly<Record<SplitName, readonly PreparedStudy[]>>;
  readonly leftOut: Readonly<Record<string, number>>;
  /** Grey 0..65535, height x width of the preprocessing. */
  pixels(study: PreparedStudy): Promise<Uint16Array>;
  close(): Promise<void>;
}

export interface PrepareOptions {
  readonly preprocessing: Preprocessing;
  /** At most this many studies of each split; default: all. */
  readonly limits: Readonly<Partial<Record<SplitName, number | undefined>>>;
  readonly seed: number;
  /** Folder of prepared datasets, shared by all runs. */
  readonly cache: string;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Version of the format written below. */
const edition = 1;

interface Manifest {
  readonly fingerprint: string;
  readonly name: string;
  readonly leftOut: Readonly<Record<string, number>>;
  readonly studies: number;
}

/**
 * Decodes and resizes every study once, into a folder of the cache that is named by its content. Two
 * runs may do so at the same time: they write the same, and the folder appears complete or not at all.
 *
 * Throws DATASET_EMPTY for a split without studies, DATASET_DAMAGED from the stream, DISK_FULL.
 */
export async function prepareDataset(dataset: Dataset, options: PrepareOptions): Promise<Prepared> {
  const chosen = choose(dataset, options);
  const key = createHash('sha256')
    .update(JSON.stringify([edition, dataset.fingerprint, options.preprocessing, idsOf(chosen)]))
    .digest('hex')
    .slice(0, 24);
  const folder = join(options.cache, `data-${key}`);
  if (!(await exists(join(folder, 'manifest.json')))) {
    const temporary = join(options.cache, `data-${key}.${randomUUID()}.tmp`);
    try {
      await writing(temporary, () => writeFolder(temporary, dataset, chosen, options));
      await rename(temporary, folder).catch(async (error: unknown) => {
        if (!(await exists(join(folder, 'manifest.json')))) throw error;
      });
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  }
  return openFolder(folder, options.preprocessing);
}

type Chosen = Readonly<Record<SplitName, readonly StudyRecord[]>>;

const idsOf = (chosen: Chosen): string[] =>
  splitNames.flatMap((split) => chosen[split].map(({ id }) => id));

function choose(dataset: Dataset, { limits, seed }: PrepareOptions): Chosen {
  const pick = (split: SplitName): readonly StudyRecord[] => {
    const records = dataset.splits[split];
    const limit = limits[split] ?? records.length;
    const drawn = shuffled(records, ({ id }) => id, seed, 'studies').slice(0, limit);
    return drawn.length > 0 ? records.filter((record) => drawn.includes(record)) : [];
  };
  const chosen = { train: pick('train'), validate: pick('validate'), test: pick('test') };
  for (const split of ['train', 'validate'] as const) {
    if (chosen[split].length > 0) continue;
    const sizes = splitNames.map((name) => `${name} ${dataset.splits[name].length}`).join(', ');
    const message = `${dataset.name}: the ${split} split has no study (${sizes}); training needs at least one`;
    throw new DomainError('FAILED_PRECONDITION', 'DATASET_EMPTY', message, { field: split });
  }
  return chosen;
}

async function writeFolder(
  folder: string,
  dataset: Dataset,
  chosen: Chosen,
  { preprocessing, onProgress, signal }: PrepareOptions,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await using pixels = await open(join(folder, 'pixels.u16'), 'w');
  const lines: string[] = [];
  const leftOut: Record<string, number> = { ...dataset.leftOut };
  const total = idsOf(chosen).length;
  let before = 0;
  for (const split of splitNames) {
    // The dataset, cut to the chosen studies, in the stream's order and with its rule for damage.
    const cut = { ...dataset, splits: { ...dataset.splits, [split]: chosen[split] } };
    let end: Position = startOf(cut, split);
    const studies = streamStudies(cut, end, {
      load: async (study: Study) => ({
        study,
        grey: await resize(await study.images[0].decode(), preprocessing),
      }),
      prefetch: 2 * availableParallelism(),
      onProgress: (position) => {
        end = position;
        onProgress?.(before + position.done, total);
      },
      ...(signal && { signal }),
    });
    for await (const { value } of studies) {
      const { id, findings, impression, indication, labels } = value.study;
      await pixels.write(
        new Uint8Array(value.grey.buffer, value.grey.byteOffset, value.grey.byteLength),
      );
      const states = observations.map((name) => labels[name]);
      lines.push(JSON.stringify({ id, split, findings, impression, indication, labels: states }));
    }
    before += chosen[split].length;
    for (const { kind } of end.skipped) leftOut[kind] = (leftOut[kind] ?? 0) + 1;
    if (end.empty > 0) leftOut['empty report'] = (leftOut['empty report'] ?? 0) + end.empty;
  }
  await pixels.sync();
  await writeFile(join(folder, 'studies.jsonl'), `${lines.join('\n')}\n`);
  const { fingerprint, name } = dataset;
  const manifest: Manifest = { fingerprint, name, leftOut, studies: lines.length };
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
}

async function openFolder(folder: string, { height, width }: Preprocessing): Promise<Prepared> {
  const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as Manifest;
  const text = await readFile(join(folder, 'studies.jsonl'), 'utf8');
  const studies = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line, index) =>
      Object.assign(JSON.parse(line) as Omit<PreparedStudy, 'index'>, { index }),
    );
  const file = await open(join(folder, 'pixels.u16'));
  const bytes = 2 * height * width;
  const inSplit = (split: SplitName) => studies.filter((study) => study.split === split);
  return {
    fingerprint: manifest.fingerprint,
    name: manifest.name,
    leftOut: manifest.leftOut,
    splits: { train: inSplit('train'), validate: inSplit('validate'), test: inSplit('test') },
    pixels: ({ index }) => readPixels(file, folder, index, bytes),
    close: () => file.close(),
  };
}

async function readPixels(
  file: FileHandle,
  folder: string,
  index: number,
  bytes: number,
): Promise<Uint16Array> {
  const buffer = new Uint8Array(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, index * bytes);
  if (bytesRead === bytes) return new Uint16Array(buffer.buffer);
  const message = `${folder}: pixels.u16 ends within study ${index}; delete the folder to prepare it again`;
  throw new DomainError('DATA_LOSS', 'CACHE_TRUNCATED', message, { field: folder });
}
