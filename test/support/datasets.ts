/** Miniature datasets, faithful in their formats, in temporary folders. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32, deflateRawSync, gzipSync } from 'node:zlib';
import type { ExecutionContext } from 'ava';
import sharp from 'sharp';
import { observations } from '../../lib/text/labels/observations.ts';

/** A temporary folder with the given files, which the test's end removes. */
export async function folder(
  t: ExecutionContext,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'radscribe-data-'));
  t.teardown(() => rm(root, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), content);
  }
  return root;
}

export function encodedImage(format: 'jpeg' | 'png', grey: number): Promise<Buffer> {
  const channels = [grey, grey, grey] as const;
  const background = { r: channels[0], g: channels[1], b: channels[2] };
  return sharp({ create: { width: 24, height: 20, channels: 3, background } })
    .greyscale()
    .toFormat(format)
    .toBuffer();
}

/** A ZIP archive (APPNOTE.TXT 4.3): local headers and data, central directory, its end. */
export function zip(files: Readonly<Record<string, string>>): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const packed = deflateRawSync(text);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(8, 4);
    common.writeUInt32LE(crc32(text), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(Buffer.byteLength(text), 18);
    common.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    centrals.push(
      Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), common, tail, Buffer.from(name)]),
    );
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  end.writeUInt16LE(centrals.length, 8);
  end.writeUInt16LE(centrals.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, directory, end]);
}

interface MimicImage {
  readonly dicom: string;
  readonly view: string;
}

export interface MimicStudy {
  readonly subject: number;
  readonly study: number;
  readonly split: 'train' | 'validate' | 'test';
  readonly images: readonly MimicImage[];
  /** CheXpert's states by observation, as its table writes them; no row where left out. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly report: string;
}

const viewNames: Readonly<Record<string, string>> = { PA: 'postero-anterior', LATERAL: 'lateral' };

/** The tables of MIMIC-CXR-JPG 2.0.0 with all their columns. */
export function mimicTables(studies: readonly MimicStudy[]): Record<string, Uint8Array> {
  const metadata = [
    'dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,' +
      'StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,' +
      'PatientOrientationCodeSequence_CodeMeaning',
  ];
  const split = ['dicom_id,study_id,subject_id,split'];
  const labels = [['subject_id', 'study_id', ...observations.toSorted()].join(',')];
  for (const { subject, study, images, labels: given, split: name } of studies) {
    for (const { dicom, view } of images) {
      metadata.push(
        `${dicom},${subject},${study},CHEST (PA AND LAT),${view},3056,2544,21800506,213014.531,` +
          `CHEST (PA AND LAT),${viewNames[view] ?? ''},Erect`,
      );
      split.push(`${dicom},${study},${subject},${name}`);
    }
    const states = observations.toSorted().map((observation) => given?.[observation] ?? '');
    if (given) labels.push([subject, study, ...states].join(','));
  }
  const packed = (lines: readonly string[]) => gzipSync(`${lines.join('\n')}\n`);
  return {
    'mimic-cxr-2.0.0-metadata.csv.gz': packed(metadata),
    'mimic-cxr-2.0.0-split.csv.gz': packed(split),
    'mimic-cxr-2.0.0-chexpert.csv.gz': packed(labels),
    'mimic-cxr-2.0.0-negbio.csv.gz': packed(labels.map((line) => line.replaceAll('-1.0', '0.0'))),
  };
}

export function mimicPath({ subject, study }: MimicStudy): string {
  return `files/p${`${subject}`.slice(0, 2)}/p${subject}/s${study}`;
}

/** The whole tree: tables, images, and the reports as text files beside them. */
export async function mimicFiles(
  studies: readonly MimicStudy[],
): Promise<Record<string, string | Uint8Array>> {
  const files: Record<string, string | Uint8Array> = mimicTables(studies);
  for (const study of studies) {
    for (const { dicom } of study.images) {
      files[`${mimicPath(study)}/${dicom}.jpg`] = await encodedImage('jpeg', study.study % 256);
    }
    files[`${mimicPath(study)}.txt`] = study.report;
  }
  return files;
}

export function mimicReport(findings: string): string {
  return `                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___-year-old woman with cough.

 FINDINGS:

 ${findings}

 IMPRESSION:

 No acute cardiopulmonary process.
`;
}
