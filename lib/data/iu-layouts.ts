/** The two layouts of the Indiana University chest X-rays: tables, and one XML file for each report. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { DomainError } from '../errors.ts';
import { malformed, readCsv } from './csv.ts';
import { frontalFirst, type ImageRecord, type View } from './dataset.ts';
import { exists, findBelow, readDataFile } from './files.ts';
import type { Sections } from './report.ts';

/** A study as a layout describes it. */
export interface LayoutStudy {
  /** The number of the report, `1` to `3999`. */
  readonly id: string;
  /** Frontal before lateral, below the root. */
  readonly images: readonly ImageRecord[];
  /** Or the error of the file that holds them. */
  readonly sections: Sections | DomainError;
}

const projectionTable = 'indiana_projections.csv';
const reportTable = 'indiana_reports.csv';

/** The studies below `root`, in either layout. */
export async function readStudies(root: string): Promise<AsyncIterable<LayoutStudy>> {
  return (await exists(join(root, reportTable))) ? readTables(root) : readXmlFiles(root);
}

async function* readTables(root: string): AsyncGenerator<LayoutStudy> {
  const folder = await findBelow(root, ['images/images_normalized', 'images_normalized', 'images']);
  const imagesOf = new Map<string, ImageRecord[]>();
  for (const [image, { uid, view }] of await readProjections(root)) {
    const ofStudy = imagesOf.get(uid) ?? [];
    imagesOf.set(uid, ofStudy);
    ofStudy.push({ name: `${folder}/${image}.dcm.png`, view });
  }
  const columns = ['uid', 'indication', 'findings', 'impression'] as const;
  const seen = new Set<string>();
  for await (const { row, line } of readCsv(root, reportTable, columns)) {
    const { uid, indication, findings, impression } = row;
    if (seen.has(uid)) throw malformed(reportTable, line, 'its uid occurs twice');
    seen.add(uid);
    const images = frontalFirst(imagesOf.get(uid) ?? []);
    yield { id: uid, images, sections: tidied({ indication, findings, impression }) };
  }
}

interface Projection {
  readonly uid: string;
  readonly view: View;
}

/** By the name of the image without `.dcm.png`: `1_IM-0001-4001`. */
async function readProjections(root: string): Promise<Map<string, Projection>> {
  const views: Readonly<Record<string, View>> = { Frontal: 'FRONTAL', Lateral: 'LATERAL' };
  const projections = new Map<string, Projection>();
  const columns = ['uid', 'filename', 'projection'] as const;
  for await (const { row, line } of readCsv(root, projectionTable, columns)) {
    const image = /^([\w-]+)\.dcm\.png$/.exec(row.filename)?.[1];
    if (!image) throw malformed(projectionTable, line, 'filename is not of the form NAME.dcm.png');
    projections.set(image, { uid: row.uid, view: views[row.projection] ?? null });
  }
  return projections;
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  isArray: (tag) => tag === 'AbstractText' || tag === 'parentImage',
});

async function* readXmlFiles(root: string): AsyncGenerator<LayoutStudy> {
  const folder = await findBelow(root, ['ecgen-radiology', 'NLMCXR_reports/ecgen-radiology']);
  const imageFolder = await findBelow(root, ['NLMCXR_png', 'images']);
  const known = (await exists(join(root, projectionTable)))
    ? await readProjections(root)
    : new Map<string, Projection>();
  const files = await readdir(join(root, folder));
  for (const file of files.filter((name) => name.endsWith('.xml'))) {
    const id = file.slice(0, -'.xml'.length);
    const name = `${folder}/${file}`;
    try {
      const { names, sections } = readXml((await readDataFile(root, name)).toString('utf8'), name);
      const images = names.map((image) => ({
        name: `${imageFolder}/${image}.png`,
        view: known.get(image.replace(/^CXR/, ''))?.view ?? null,
      }));
      yield { id, images: frontalFirst(images), sections };
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      yield { id, images: [], sections: error };
    }
  }
}

/** The part of `<eCitation>` that is read. */
interface Citation {
  readonly MedlineCitation?: {
    readonly Article?: {
      readonly Abstract?: {
        readonly AbstractText?: readonly {
          readonly '@Label'?: string;
          readonly '#text'?: string;
        }[];
      };
    };
  };
  readonly parentImage?: readonly { readonly '@id'?: string }[];
}

function readXml(text: string, name: string): { names: readonly string[]; sections: Sections } {
  const valid = XMLValidator.validate(text);
  if (valid !== true) throw damaged(name, valid.err.line, 'it is not well-formed XML');
  const { eCitation } = parser.parse(text) as { readonly eCitation?: Citation };
  if (!eCitation) throw damaged(name, 1, 'its root is not eCitation');
  const texts = eCitation.MedlineCitation?.Article?.Abstract?.AbstractText ?? [];
  const section = (label: string) =>
    texts.find((part) => part['@Label'] === label)?.['#text'] ?? '';
  const names = (eCitation.parentImage ?? []).map((image) => image['@id'] ?? '');
  if (!names.every((image) => /^[\w-]+$/.test(image))) {
    throw damaged(name, 1, 'the id of a parentImage is not a file name');
  }
  const [indication, findings, impression] = ['INDICATION', 'FINDINGS', 'IMPRESSION'].map(section);
  return { names, sections: tidied({ indication, findings, impression }) };
}

function damaged(name: string, line: number, what: string): DomainError {
  return new DomainError('DATA_LOSS', 'XML_DAMAGED', `${name}:${line}: ${what}`, { field: name });
}

/** One line for each section: the layouts break and indent the same text differently. */
function tidied(sections: Partial<Record<keyof Sections, string | undefined>>): Sections {
  const tidy = (text = '') => text.replaceAll(/\s+/g, ' ').trim();
  return {
    indication: tidy(sections.indication),
    findings: tidy(sections.findings),
    impression: tidy(sections.impression),
  };
}
