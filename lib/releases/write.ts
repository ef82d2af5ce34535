import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DomainError, invalidArgument } from '../errors.ts';
import type { Graph, Type } from '../graph/value.ts';
import { servingGraphs, weightPartOf } from '../models/variants.ts';
import { emitModel } from '../onnx/emit.ts';
import { printType } from '../tensor.ts';
import { writeAtomically } from '../atomic.ts';
import {
  type TensorInfo,
  type TensorSource,
  writeSafetensors,
} from '../safetensors/safetensors.ts';
import { modelCard } from './card.ts';
import { digestFile, digestOf } from './digest.ts';
import {
  type GraphName,
  type Manifest,
  type ManifestContent,
  formatVersion,
  graphWeights,
  manifestName,
  parseManifest,
  releaseFiles,
  releaseIdOf,
} from './manifest.ts';

/** What a release is made of. */
export interface ReleaseParts extends Omit<ManifestContent, 'formatVersion' | 'files'> {
  /** Every parameter, named as in the graphs; data may be made when its turn comes. */
  readonly tensors: Iterable<TensorSource>;
  /** tokenizer.json objects. */
  readonly tokenizers: { readonly encoder: unknown; readonly decoder: unknown };
  /** Of the variant and preset; quantised ones read other tensors. */
  readonly graphs?: Readonly<Record<GraphName, Graph>>;
}

type Infos = ReadonlyMap<string, TensorInfo>;

/**
 * Writes a release into `folder`, which must be empty or absent: weights, graphs that point into them,
 * tokenizers, model card and, last, the manifest. Gives the manifest. The same parts give the same
 * bytes and the same id. Throws INVALID_ARGUMENT, naming the field or parameter, for parts that do not
 * fit together, and ALREADY_EXISTS for a folder with something in it.
 */
export async function writeRelease(folder: string, parts: ReleaseParts): Promise<Manifest> {
  const { tensors, tokenizers, graphs: given, ...described } = parts;
  checkDescription(described);
  const graphs = given ?? servingGraphs(parts.variant, parts.preset);
  await emptyFolder(folder);
  const weights = await writeWeights(folder, tensors);
  for (const name of Object.keys(graphWeights) as GraphName[]) {
    const location = graphWeights[name];
    const infos = weights.get(location)!;
    const model = emitModel(graphs[name], {
      name,
      weights: (parameter, type) => source(parameter, type, location, infos),
    });
    await write(folder, `${name}.onnx`, model);
  }
  await write(folder, 'encoder-tokenizer.json', toJson(tokenizers.encoder));
  await write(folder, 'decoder-tokenizer.json', toJson(tokenizers.decoder));
  await write(folder, 'MODEL_CARD.md', modelCard(described));
  const files = Object.fromEntries(
    await Promise.all(
      (await readdir(folder)).sort().map(async (name) => {
        return [name, await digestFile(join(folder, name))] as const;
      }),
    ),
  );
  // Through JSON, so that the id is that of what a reader will parse.
  const content = JSON.parse(
    JSON.stringify({ formatVersion, ...described, files }),
  ) as ManifestContent;
  const manifest = parseManifest({ ...content, id: releaseIdOf(content) });
  await write(folder, manifestName, toJson({ id: manifest.id, ...content }));
  return manifest;
}

/** Throws what `parseManifest` would at the end, before anything is written. */
function checkDescription(described: Omit<ManifestContent, 'formatVersion' | 'files'>): void {
  const files = Object.fromEntries(releaseFiles.map((name) => [name, digestOf(new Uint8Array())]));
  const content = JSON.parse(
    JSON.stringify({ formatVersion, ...described, files }),
  ) as ManifestContent;
  parseManifest({ ...content, id: releaseIdOf(content) });
}

async function emptyFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const [found] = await readdir(folder);
  if (found === undefined) return;
  const message = `${folder}: holds ${found} already; a release is written into an empty folder`;
  throw new DomainError('ALREADY_EXISTS', 'FOLDER_NOT_EMPTY', message, { field: 'folder' });
}

const toJson = (value: unknown): string => `${JSON.stringify(value, undefined, 1)}\n`;

const write = (folder: string, name: string, content: string | Uint8Array): Promise<void> =>
  writeAtomically(join(folder, name), (file) => file.writeFile(content));

async function writeWeights(
  folder: string,
  tensors: Iterable<TensorSource>,
): Promise<ReadonlyMap<string, Infos>> {
  const byFile = new Map<string, TensorSource[]>(
    Object.values(graphWeights).map((file) => [file, []]),
  );
  for (const tensor of tensors)
    byFile.get(`${weightPartOf(tensor.name)}.safetensors`)!.push(tensor);
  const infos = new Map<string, Infos>();
  for (const [file, sources] of byFile) {
    infos.set(file, await writeSafetensors(join(folder, file), sources));
  }
  return infos;
}

function source(name: string, type: Type, location: string, infos: Infos) {
  const field = `tensors.${name}`;
  const wanted = printType(type.dtype, type.shape);
  const info = infos.get(name);
  if (!info) throw invalidArgument('RELEASE_TENSOR', field, `is missing, expected ${wanted}`);
  const came = printType(info.dtype, info.shape);
  if (came === wanted) return { location, ...info };
  throw invalidArgument('RELEASE_TENSOR', field, `is ${came}, expected ${wanted}`);
}
