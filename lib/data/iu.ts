/** The Indiana University chest X-rays (Open-i, NLM; Demner-Fushman et al., JAMIA 2016, 23(2):304). */
import { createHash } from 'node:crypto';
import { DomainError } from '../errors.ts';
import { decodeImage } from '../image/decode.ts';
import {
  type Dataset,
  defineDataset,
  type ImageRecord,
  type SplitName,
  type StudyRecord,
} from './dataset.ts';
import { readDataFile } from './files.ts';
import { readStudies, type LayoutStudy } from './iu-layouts.ts';
import { fraction } from './order.ts';
import { labelled } from './report.ts';

export interface IuOptions {
  /** `frontal` (default): one image of each study, never a lateral one. `all`: every image. */
  readonly views?: 'frontal' | 'all';
  /** Seed of the split; default 0. */
  readonly seed?: number;
}

interface IuRecord extends StudyRecord {
  readonly sections: LayoutStudy['sections'];
}

/**
 * Opens a folder with
 * - `indiana_reports.csv`, `indiana_projections.csv` and `images/images_normalized`, or
 * - `ecgen-radiology/*.xml` and `NLMCXR_png`. These files do not say which image is lateral:
 *   put `indiana_projections.csv` beside them, or the first image by name is used as the frontal one.
 *
 * The dataset has no split. Ours puts 70 % of the studies into train, 10 % into validate and 20 % into
 * test (the shares of R2Gen, arXiv:2010.16056) by SHA-256 of seed and report number: a study stays
 * in its split whatever else exists, and in both layouts. Studies without image or text are left out.
 *
 * Throws FILE_MISSING or CSV_MALFORMED; a damaged XML file is found when its study is read.
 */
export async function openIu(root: string, options: IuOptions = {}): Promise<Dataset> {
  const { views = 'frontal', seed = 0 } = options;
  const leftOut: Record<string, number> = {};
  const records: IuRecord[] = [];
  for await (const { id, sections, images: all } of await readStudies(root)) {
    const images = views === 'all' ? all : all.slice(0, 1).filter(({ view }) => view !== 'LATERAL');
    const why = unusable(sections, all, images);
    if (why) {
      leftOut[why] = (leftOut[why] ?? 0) + 1;
      continue;
    }
    records.push({ id, split: splitOf(id, seed), images, sections, facts: digest(sections) });
  }
  return defineDataset<IuRecord>({
    name: 'iu-xray',
    records,
    leftOut,
    report: async ({ sections }) => {
      if (sections instanceof DomainError) throw sections;
      return labelled(sections, undefined);
    },
    image: async (record, index) => {
      const { name } = record.images[index] as ImageRecord;
      return decodeImage(await readDataFile(root, name), { field: name });
    },
  });
}

function unusable(
  sections: LayoutStudy['sections'],
  all: readonly ImageRecord[],
  images: readonly ImageRecord[],
): string | undefined {
  if (sections instanceof DomainError) return undefined;
  if (!sections.findings && !sections.impression) return 'neither findings nor impression';
  if (all.length === 0) return 'no image';
  return images.length === 0 ? 'no frontal image' : undefined;
}

function splitOf(id: string, seed: number): SplitName {
  const drawn = fraction(id, seed, 'split');
  if (drawn < 0.7) return 'train';
  return drawn < 0.8 ? 'validate' : 'test';
}

function digest(sections: LayoutStudy['sections']): string {
  const content = sections instanceof DomainError ? sections.message : JSON.stringify(sections);
  return createHash('sha256').update(content).digest('hex');
}
