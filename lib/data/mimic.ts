/** MIMIC-CXR-JPG 2.x, as PhysioNet publishes it (Johnson et al. 2019, arXiv:1901.07042). */
import { DomainError, invalidArgument } from '../errors.ts';
import { decodeImage } from '../image/decode.ts';
import { parseReport } from '../text/sections.ts';
import {
  type Dataset,
  defineDataset,
  frontalFirst,
  type ImageRecord,
  type Labels,
  type SplitName,
  splitNames,
  type StudyRecord,
} from './dataset.ts';
import { readDataFile } from './files.ts';
import { openReports } from './mimic-reports.ts';
import { type MimicImage, readImages, readLabels, readSplits } from './mimic-tables.ts';
import { shuffled } from './order.ts';
import { labelled } from './report.ts';

export interface MimicOptions {
  /** The reports' archive, or the folder that holds their `files/`; default: searched below the root. */
  readonly reports?: string;
  /** `frontal` (default): the studies with a PA image, and that image alone. `all`: all images. */
  readonly views?: 'frontal' | 'all';
  /** Which labeler labelled the studies (default: `chexpert`); our rules do where it did not. */
  readonly labels?: 'chexpert' | 'negbio' | 'extracted';
  /** Studies to draw from a split; a split that is not named is used whole. */
  readonly subset?: Readonly<Partial<Record<SplitName, number>>>;
  /** Seed of the subset; default 0. */
  readonly seed?: number;
}

/** What the paper trained on: single PA images of 10,000 studies, validated on 500. */
export const paperSubset = { train: 10_000, validate: 500 } as const;

interface FoundStudy {
  readonly id: string;
  readonly split: SplitName;
  readonly images: readonly MimicImage[];
  /** The path of its text. */
  readonly report: string;
}

interface MimicRecord extends FoundStudy, StudyRecord {
  readonly images: readonly MimicImage[];
  readonly labels: Labels | undefined;
}

/**
 * Opens the folder with `files/` and `mimic-cxr-2.0.0-{metadata,split,chexpert,negbio}.csv.gz`, or
 * the same decompressed. The splits are the published ones; a study's id is that of its files, `s…`.
 *
 * Throws FILE_MISSING, CSV_MALFORMED, ARCHIVE_DAMAGED or SUBSET_TOO_LARGE. Images and reports are
 * opened when their study is read: a missing one is found then.
 */
export async function openMimic(root: string, options: MimicOptions = {}): Promise<Dataset> {
  const { views = 'frontal', labels: labeler = 'chexpert', subset = {}, seed = 0 } = options;
  const leftOut: Record<string, number> = {};
  const found = await findStudies(root, views, leftOut);
  const drawn = drawSubset(found, subset, seed);
  if (drawn.length < found.length)
    leftOut['not drawn into the subset'] = found.length - drawn.length;

  const ids = new Set(drawn.map(({ id }) => id));
  const labels =
    labeler === 'extracted' ? undefined : await readLabels(root, labeler, (id) => ids.has(id));
  const records = drawn.map((study): MimicRecord => {
    const given = labels?.get(study.id);
    const facts = JSON.stringify([study.images.map(({ size }) => size), given]);
    return { ...study, labels: given, facts };
  });
  const paths = new Set(drawn.map(({ report }) => report));
  const reports = await openReports(root, options.reports, (name) => paths.has(name));
  return defineDataset<MimicRecord>({
    name: 'mimic-cxr-jpg',
    records,
    leftOut,
    report: async (record) => {
      const sections = parseReport(await reports.read(record.report));
      if (!sections.findings && !sections.impression) {
        const message = `${record.report}: neither findings nor impression`;
        throw new DomainError('FAILED_PRECONDITION', 'REPORT_EMPTY', message);
      }
      return labelled(sections, record.labels);
    },
    image: async ({ images }, index) => {
      const { name } = images[index] as ImageRecord;
      return decodeImage(await readDataFile(root, name), { field: name });
    },
    close: () => reports.close(),
  });
}

async function findStudies(
  root: string,
  views: 'frontal' | 'all',
  leftOut: Record<string, number>,
): Promise<readonly FoundStudy[]> {
  const studies = await readImages(root);
  const splits = await readSplits(root);
  const records: FoundStudy[] = [];
  for (const [id, { folder, images: all }] of studies) {
    const split = splits.get(id);
    const sorted = frontalFirst(all);
    const images =
      views === 'all' ? sorted : sorted.slice(0, 1).filter(({ view }) => view === 'PA');
    if (split && images.length > 0) {
      records.push({ id, split, images, report: `${folder}.txt` });
    } else {
      const why = split ? 'no PA image' : 'no split';
      leftOut[why] = (leftOut[why] ?? 0) + 1;
    }
  }
  return records;
}

function drawSubset(
  studies: readonly FoundStudy[],
  subset: Readonly<Partial<Record<SplitName, number>>>,
  seed: number,
): readonly FoundStudy[] {
  return splitNames.flatMap((split) => {
    const all = studies.filter((study) => study.split === split);
    const count = subset[split] ?? all.length;
    if (count > all.length) {
      const message = `expected at most ${all.length} studies, which are those of the split that can be used; got ${count}`;
      throw invalidArgument('SUBSET_TOO_LARGE', `subset.${split}`, message);
    }
    return shuffled(all, ({ id }) => id, seed, 'subset').slice(0, count);
  });
}
