import { availableParallelism } from 'node:os';
import { type Observation, observations } from '../text/labels/observations.ts';
import { type Dataset, type Report, type SplitName, splitNames, type Study } from './dataset.ts';
import { type Position, type Skip, startOf, streamStudies } from './stream.ts';

interface LabelCounts {
  positive: number;
  negative: number;
  uncertain: number;
  blank: number;
}

export interface SplitInspection {
  /** In the index. */
  readonly studies: number;
  /** Studies that were read without an error; the counts below are of these. */
  readonly usable: number;
  readonly empty: number;
  readonly skipped: readonly Skip[];
  /** Images by view; `unknown` where the dataset does not record it. */
  readonly views: Readonly<Record<string, number>>;
  readonly labelsFrom: Readonly<Record<Report['labelsFrom'], number>>;
  readonly labels: Readonly<Record<Observation, LabelCounts>>;
}

export interface Inspection {
  readonly name: string;
  readonly fingerprint: string;
  readonly leftOut: Readonly<Record<string, number>>;
  readonly splits: Readonly<Record<SplitName, SplitInspection>>;
}

export interface InspectOptions {
  /** Decode every image too, which finds the corrupt ones. */
  readonly decode: boolean;
  readonly onProgress?: (position: Position, total: number) => void;
}

/** Reads a whole dataset and counts its studies. Damage is counted without a limit. */
export async function inspectDataset(
  dataset: Dataset,
  options: InspectOptions,
): Promise<Inspection> {
  const { name, fingerprint, leftOut } = dataset;
  const splits = {} as Record<SplitName, SplitInspection>;
  for (const split of splitNames) splits[split] = await inspectSplit(dataset, split, options);
  return { name, fingerprint, leftOut, splits };
}

async function inspectSplit(
  dataset: Dataset,
  split: SplitName,
  { decode, onProgress }: InspectOptions,
): Promise<SplitInspection> {
  let end = startOf(dataset, split);
  const views: Record<string, number> = {};
  const labelsFrom = { given: 0, extracted: 0 };
  const labels = Object.fromEntries(
    observations.map((name) => [name, { positive: 0, negative: 0, uncertain: 0, blank: 0 }]),
  ) as Record<Observation, LabelCounts>;
  const studies = streamStudies<Study>(dataset, end, {
    load: async (study) => {
      // One after the other: a decoded image is large, and other studies are read at the same time.
      if (decode) for (const image of study.images) await image.decode();
      return study;
    },
    prefetch: 2 * availableParallelism(),
    skipLimit: Number.POSITIVE_INFINITY,
    onProgress: (position, total) => {
      end = position;
      onProgress?.(position, total);
    },
  });
  let usable = 0;
  for await (const { value: study } of studies) {
    usable += 1;
    labelsFrom[study.labelsFrom] += 1;
    for (const name of observations) labels[name][study.labels[name] ?? 'blank'] += 1;
    for (const { view } of study.images) {
      const key = view ?? 'unknown';
      views[key] = (views[key] ?? 0) + 1;
    }
  }
  const { empty, skipped } = end;
  const total = dataset.splits[split].length;
  return { studies: total, usable, empty, skipped, views, labelsFrom, labels };
}
