import { join } from 'node:path';
import { writeAtomically } from '../atomic.ts';
import { modelCard } from './card.ts';
import { digestFile, digestOf } from './digest.ts';
import {
  type FileDigest,
  type Manifest,
  type ManifestContent,
  formatVersion,
  manifestName,
  parseManifest,
  releaseFiles,
  releaseIdOf,
} from './manifest.ts';
import { type ReadParameter, writeModels } from './models.ts';

/** What a release is, beside its models. */
export interface ReleaseDescription extends Omit<ManifestContent, 'formatVersion' | 'files'> {
  /** tokenizer.json objects. */
  readonly tokenizers: { readonly encoder: unknown; readonly decoder: unknown };
}

/**
 * Writes a release into `folder`, which must be empty or absent: its models, then everything else. The
 * same description and parameters give the same bytes and the same id. Throws as `writeModels` and
 * `completeRelease`.
 */
export async function writeRelease(
  folder: string,
  description: ReleaseDescription,
  read: ReadParameter,
): Promise<Manifest> {
  checkDescription(description);
  await writeModels(folder, description, read);
  return completeRelease(folder, description);
}

/**
 * Makes a release of a folder that holds its models, as `writeModels` wrote them: adds tokenizers, model
 * card and, last, the manifest, which it returns. Throws INVALID_ARGUMENT, naming the field, for a
 * description that is not valid.
 */
export async function completeRelease(
  folder: string,
  description: ReleaseDescription,
): Promise<Manifest> {
  checkDescription(description);
  const { tokenizers, ...described } = description;
  await write(folder, 'encoder-tokenizer.json', toJson(tokenizers.encoder));
  await write(folder, 'decoder-tokenizer.json', toJson(tokenizers.decoder));
  await write(folder, 'MODEL_CARD.md', modelCard(described));
  const digests: [string, FileDigest][] = [];
  for (const name of releaseFiles) digests.push([name, await digestFile(join(folder, name))]);
  const manifest = manifestOf(described, Object.fromEntries(digests));
  await write(folder, manifestName, toJson(manifest));
  return parseManifest(manifest);
}

/** Throws what `parseManifest` would at the end, before anything is written. */
function checkDescription(description: ReleaseDescription): void {
  const { tokenizers: _, ...described } = description;
  const empty = digestOf(new Uint8Array());
  const files = Object.fromEntries(releaseFiles.map((name) => [name, empty]));
  parseManifest(manifestOf(described, files));
}

/** Through JSON, so that the id is that of what a reader will parse. */
function manifestOf(
  described: Omit<ReleaseDescription, 'tokenizers'>,
  files: ManifestContent['files'],
): Manifest {
  const json = JSON.stringify({ formatVersion, ...described, files });
  const content = JSON.parse(json) as ManifestContent;
  return { id: releaseIdOf(content), ...content };
}

const toJson = (value: unknown): string => `${JSON.stringify(value, undefined, 1)}\n`;

const write = (folder: string, name: string, content: string): Promise<void> =>
  writeAtomically(join(folder, name), (file) => file.writeFile(content));
