/** The tables of MIMIC-CXR-JPG 2.x: images, splits, labels. */
import { type LabelState, type Observation, observations } from '../text/labels/observations.ts';
import { malformed, readCsv } from './csv.ts';
import { type ImageRecord, type Labels, type SplitName, splitNames, type View } from './dataset.ts';
import { findBelow } from './files.ts';

export interface MimicImage extends ImageRecord {
  /** Rows x columns of the original. */
  readonly size: string;
}

export interface ImagedStudy {
  readonly folder: string;
  readonly images: MimicImage[];
}

const views: Readonly<Record<string, View>> = {
  PA: 'PA',
  AP: 'AP',
  LATERAL: 'LATERAL',
  LL: 'LATERAL',
  'XTABLE LATERAL': 'LATERAL',
};

const states: Readonly<Record<string, LabelState>> = {
  '1.0': 'positive',
  '0.0': 'negative',
  '-1.0': 'uncertain',
  '': null,
};

/** By study id, `s50414267`. */
export async function readImages(root: string): Promise<Map<string, ImagedStudy>> {
  const name = await table(root, 'metadata');
  const studies = new Map<string, ImagedStudy>();
  const columns = [
    'dicom_id',
    'subject_id',
    'study_id',
    'ViewPosition',
    'Rows',
    'Columns',
  ] as const;
  for await (const { row, line } of readCsv(root, name, columns)) {
    if (!/^[\w-]+$/.test(row.dicom_id)) throw malformed(name, line, 'dicom_id is not a file name');
    const subject = digits(row.subject_id, 'subject_id', name, line);
    const id = `s${digits(row.study_id, 'study_id', name, line)}`;
    const folder = `files/p${subject.slice(0, 2)}/p${subject}/${id}`;
    const study = studies.get(id) ?? { folder, images: [] };
    studies.set(id, study);
    study.images.push({
      name: `${folder}/${row.dicom_id}.jpg`,
      view: views[row.ViewPosition] ?? null,
      size: `${row.Rows}x${row.Columns}`,
    });
  }
  return studies;
}

/** By study id. */
export async function readSplits(root: string): Promise<Map<string, SplitName>> {
  const name = await table(root, 'split');
  const splits = new Map<string, SplitName>();
  for await (const { row, line } of readCsv(root, name, ['study_id', 'split'])) {
    const split = splitNames.find((known) => known === row.split);
    if (!split) throw malformed(name, line, `split is none of ${splitNames.join(', ')}`);
    splits.set(`s${digits(row.study_id, 'study_id', name, line)}`, split);
  }
  return splits;
}

/** By study id, for the studies that `isWanted` accepts. */
export async function readLabels(
  root: string,
  labeler: 'chexpert' | 'negbio',
  isWanted: (id: string) => boolean,
): Promise<Map<string, Labels>> {
  const name = await table(root, labeler);
  const labels = new Map<string, Labels>();
  for await (const { row, line } of readCsv(root, name, ['study_id', ...observations])) {
    const id = `s${digits(row.study_id, 'study_id', name, line)}`;
    if (!isWanted(id)) continue;
    const state = (observation: Observation) => {
      const known = states[row[observation]];
      if (known !== undefined) return known;
      throw malformed(name, line, `${observation} is none of 1.0, 0.0, -1.0 and empty`);
    };
    const read = observations.map((observation) => [observation, state(observation)]);
    labels.set(id, Object.fromEntries(read) as Labels);
  }
  return labels;
}

/** As published, or decompressed. */
function table(root: string, kind: string): Promise<string> {
  const name = `mimic-cxr-2.0.0-${kind}.csv`;
  return findBelow(root, [`${name}.gz`, name]);
}

function digits(text: string, column: string, name: string, line: number): string {
  if (/^\d+$/.test(text)) return text;
  throw malformed(name, line, `${column} is not a number`);
}
