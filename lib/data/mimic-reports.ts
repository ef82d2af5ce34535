/** The reports of MIMIC-CXR: a folder of text files, or the archive they are published as. */
import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { crc32 } from 'node:zlib';
import { type Entry, openPromise } from 'yauzl';
import { DomainError } from '../errors.ts';
import { exists, fileError, missing, readDataFile } from './files.ts';

export interface ReportFiles {
  /** The text of e.g. `files/p10/p10000032/s50414267.txt`. */
  read(name: string): Promise<string>;
  close(): Promise<void>;
}

/** Far above any report; a longer entry is not decompressed. */
const maxReportBytes = 1 << 20;

/**
 * Opens `reports`, an archive or a folder that holds `files/`. Where it is not given: the published
 * archive below `root`, the folder it unpacks to, or the text files beside the images.
 */
export async function openReports(
  root: string,
  reports: string | undefined,
  isWanted: (name: string) => boolean,
): Promise<ReportFiles> {
  const path = reports ?? (await publishedReports(root));
  const found = await stat(path).catch((error: unknown) => {
    throw fileError(error, basename(path));
  });
  if (found.isFile()) return openArchive(path, isWanted);
  return {
    read: async (name) => (await readDataFile(path, name)).toString('utf8'),
    close: async () => {},
  };
}

async function publishedReports(root: string): Promise<string> {
  const archive = join(root, 'mimic-cxr-reports.zip');
  if (await exists(archive)) return archive;
  const unpacked = join(root, 'mimic-cxr-reports');
  return (await exists(unpacked)) ? unpacked : root;
}

async function openArchive(
  path: string,
  isWanted: (name: string) => boolean,
): Promise<ReportFiles> {
  const label = basename(path);
  const damage = (what: string) =>
    new DomainError('DATA_LOSS', 'ARCHIVE_DAMAGED', `${label}: ${what}`, { field: label });
  try {
    const archive = await openPromise(path, { autoClose: false });
    const entries = new Map<string, Entry>();
    for await (const entry of archive.eachEntry()) {
      // The published archive begins at files/, one made of the unpacked folder one level above.
      const name = entry.fileName.replace(/^mimic-cxr-reports\//, '');
      if (isWanted(name)) entries.set(name, entry);
    }
    return {
      read: async (name) => {
        const entry = entries.get(name);
        if (!entry) throw missing(`${label}/${name}`);
        if (entry.uncompressedSize > maxReportBytes) {
          throw damage(`${name} has ${entry.uncompressedSize} bytes, at most ${maxReportBytes}`);
        }
        const bytes = await archive
          .openReadStreamPromise(entry)
          .then(buffer)
          .catch(() => undefined);
        if (!bytes || crc32(bytes) !== entry.crc32) throw damage(`${name} cannot be unpacked`);
        return bytes.toString('utf8');
      },
      close: async () => archive.close(),
    };
  } catch (error) {
    const known = fileError(error, label);
    throw known instanceof DomainError ? known : damage('it is not a whole ZIP archive');
  }
}
