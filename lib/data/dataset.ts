/**
 * A dataset is an index of studies in named splits, known up front, and a way to read one of them. A source (MIMIC-CXR-JPG, IU X-Ray, phantom) gives the index and the two readers; order,
 * prefetch, resuming and the rule for damaged files are in stream.ts, once for all of them.
 */
import { createHash } from 'node:crypto';
import type { DecodedImage, View as FilmView } from '../image/decoded.ts';
import type { LabelState, Observation } from '../text/labels/observations.ts';

export const splitNames = ['train', 'validate', 'test'] as const;
export type SplitName = (typeof splitNames)[number];

/** How the radiograph was taken; FRONTAL where PA or AP is not recorded, null where nothing is. */
export type View = FilmView | 'FRONTAL' | null;

export type Labels = Readonly<Record<Observation, LabelState>>;

/** The 14 observations, and whether the dataset has them or our rules extracted them. */
interface StudyLabels {
  readonly labels: Labels;
  readonly labelsFrom: 'given' | 'extracted';
}

/** The text of one study; a missing section is ''. */
export interface Report extends StudyLabels {
  readonly findings: string;
  readonly impression: string;
  readonly indication: string;
}

export interface ImageRecord {
  /** Unique within the dataset, e.g. the path below its root. */
  readonly name: string;
  readonly view: View;
}

/** One entry of the index: what is known of a study without opening its files. */
export interface StudyRecord {
  /** Unique within the dataset. */
  readonly id: string;
  readonly split: SplitName;
  /**
   * The image that represents the study, a frontal view, comes first. Empty only if the source knows
   * that `report` will throw.
   */
  readonly images: readonly ImageRecord[];
  /** Facts of the content in the index (a report's digest, sizes, labels), for the fingerprint. */
  readonly facts: string;
}

/**
 * The interface of a source. The readers throw a DomainError if a file is missing (NOT_FOUND) or damaged
 * (any other code but CANCELLED and INTERNAL); the reason REPORT_EMPTY means that a report has no text to
 * learn from. Any other error is a bug and ends the load.
 */
export interface Source<R extends StudyRecord> {
  readonly name: string;
  readonly records: readonly R[];
  /** Studies of the source that are not in the index: why, and how many. */
  readonly leftOut: Readonly<Record<string, number>>;
  report(record: R): Promise<Report>;
  /** Decodes `record.images[index]`. */
  image(record: R, index: number): Promise<DecodedImage>;
  close?(): Promise<void>;
}

interface StudyImage extends ImageRecord {
  /** Reads and decodes the file, again at each call. */
  decode(): Promise<DecodedImage>;
}

export interface Study extends Report {
  readonly id: string;
  readonly split: SplitName;
  /** The view of the first image. */
  readonly view: View;
  readonly images: readonly [StudyImage, ...StudyImage[]];
}

export interface Dataset {
  readonly name: string;
  /** The studies of each split, by id. */
  readonly splits: Readonly<Record<SplitName, readonly StudyRecord[]>>;
  readonly leftOut: Readonly<Record<string, number>>;
  /**
   * SHA-256 (hex) over the ids, splits, images, views and content facts of the index: two datasets
   * with the same fingerprint give the same studies. It does not read the images.
   */
  readonly fingerprint: string;
  /** Reads the report of a study of this dataset; its images are read by `decode`. */
  read(record: StudyRecord): Promise<Study>;
  close(): Promise<void>;
}

export function defineDataset<R extends StudyRecord>(source: Source<R>): Dataset {
  const records = source.records.toSorted((a, b) => compare(a.id, b.id));
  const byId = new Map(records.map((record) => [record.id, record]));
  if (byId.size !== records.length) throw new Error(`${source.name}: a study id occurs twice`);
  const inSplit = (split: SplitName) => records.filter((record) => record.split === split);
  return {
    name: source.name,
    splits: { train: inSplit('train'), validate: inSplit('validate'), test: inSplit('test') },
    leftOut: source.leftOut,
    fingerprint: fingerprintOf(source.name, records),
    read: async ({ id }) => {
      const record = byId.get(id);
      if (!record) throw new Error(`${source.name}: no study of this index has the id ${id}`);
      const [first, ...others] = record.images.map(({ name, view }, index) => ({
        name,
        view,
        decode: () => source.image(record, index),
      }));
      const report = await source.report(record);
      if (!first) throw new Error(`${source.name}: study ${id} has no image`);
      return { ...report, id, split: record.split, view: first.view, images: [first, ...others] };
    },
    close: async () => source.close?.(),
  };
}

function fingerprintOf(name: string, records: readonly StudyRecord[]): string {
  const hash = createHash('sha256').update(`${name}\n`);
  for (const { id, split, images, facts } of records) {
    const views = images.map((image) => [image.name, image.view]);
    hash.update(`${JSON.stringify([id, split, views, facts])}\n`);
  }
  return hash.digest('hex');
}

const viewOrder: readonly View[] = ['PA', 'AP', 'FRONTAL', null, 'LATERAL'];

/** Orders the images of a study, the one that represents it first: by view, PA before all, then by name. */
export function frontalFirst<I extends ImageRecord>(images: readonly I[]): I[] {
  const rank = ({ view }: I) => viewOrder.indexOf(view);
  return images.toSorted((a, b) => rank(a) - rank(b) || compare(a.name, b.name));
}

/** By UTF-16 code units: the same in every locale. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
