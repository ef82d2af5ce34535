import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type DomainError, invalidArgument } from '../errors.ts';
import { type Preprocessing, parsePreprocessing } from '../image/preprocessing.ts';
import { type VariantName, variantNames } from '../models/names.ts';
import { type Preset, parsePreset } from '../models/preset.ts';
import { type DecodingOptions, parseDecodingOptions } from './decoding.ts';

/** What is written. Version 1 is read as well: it spelt `quantization` with an s. */
export const formatVersion = 2;
export const manifestName = 'release.json';

/** The graphs of a release, and the weight file beside each that it points into. */
export const graphWeights = {
  vision: 'vision.safetensors',
  labeler: 'labeler.safetensors',
  encoder: 'generator.safetensors',
  decoder: 'generator.safetensors',
} as const;
export type GraphName = keyof typeof graphWeights;

/** The files of a release beside its manifest. */
export const releaseFiles = [
  'vision.onnx',
  'vision.safetensors',
  'labeler.onnx',
  'labeler.safetensors',
  'encoder.onnx',
  'decoder.onnx',
  'generator.safetensors',
  'encoder-tokenizer.json',
  'decoder-tokenizer.json',
  'MODEL_CARD.md',
] as const;

const text = z.string().min(1).max(1000);
const finite = z.number();
const perLabel = z.array(finite).length(14);
const digest = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits');

const labels = z.strictObject({
  /** A label is positive from this probability on, in the order of lib/text/labels/observations.ts. */
  thresholds: z.array(z.number().min(0).max(1)).length(14),
  /** Probability = sigmoid(logit / temperature). */
  temperatures: perLabel.refine((all) => all.every((one) => one > 0), 'expected numbers above 0'),
});

/** How far an image may lie from those of training; lib/inference/distribution.ts has the distance. */
const outOfDistribution = z.strictObject({
  mean: z.array(finite).min(1),
  std: z.array(z.number().positive()).min(1),
  threshold: z.number().positive(),
  /** Share of validation studies whose distance exceeds the threshold. */
  falseAlarms: z.number().min(0).max(1),
});

const provenance = z.strictObject({
  createdAt: z.iso.datetime(),
  dataset: z.strictObject({
    name: text,
    fingerprint: text,
    /** Studies used of each split. */
    studies: z.record(text, z.int().min(0)),
  }),
  /** The training config, whole. */
  config: z.record(z.string(), z.json()),
  codeVersion: text,
  parent: text.nullable(),
  seed: z.int().min(0),
  durationS: z.number().min(0),
  /** The command that made it. */
  command: z.string().max(4000).optional(),
});

const metrics = z.record(text, finite);
const metricRow = z.strictObject({
  metrics,
  /** Bounds that hold 95 % of bootstrap resamples, by metric. */
  intervals: z.record(text, z.tuple([finite, finite])).optional(),
});

/** A table of the evaluation: this release's row, and those of the baselines it must be read against. */
const evaluationTable = z.strictObject({
  title: text,
  split: text,
  studies: z.int().min(0),
  model: metricRow,
  baselines: z.record(text, metricRow),
});

const manifest = z.strictObject({
  formatVersion: z.literal(formatVersion),
  id: z.string(),
  variant: z.enum(variantNames),
  preset: z.unknown(),
  preprocessing: z.unknown(),
  labels,
  outOfDistribution: outOfDistribution.nullable(),
  /** The defaults of a request. */
  decoding: z.unknown(),
  quantization: z.enum(['none', 'int8']),
  provenance,
  /** By a name that programs use, e.g. `clinical` or `text`. */
  evaluation: z.record(text, evaluationTable),
  files: z.record(z.string(), z.strictObject({ sha256: digest, bytes: z.int().min(0) })),
});

export type Quantization = z.infer<typeof manifest>['quantization'];
export type ReleaseLabels = Readonly<z.infer<typeof labels>>;
export type OutOfDistribution = Readonly<z.infer<typeof outOfDistribution>>;
type Provenance = Readonly<z.infer<typeof provenance>>;
export type MetricRow = Readonly<z.infer<typeof metricRow>>;
export type EvaluationTable = Readonly<z.infer<typeof evaluationTable>>;
type Evaluation = Readonly<Record<string, EvaluationTable>>;

export interface FileDigest {
  readonly sha256: string;
  readonly bytes: number;
}

/** A release without its id. */
export interface ManifestContent {
  readonly formatVersion: typeof formatVersion;
  readonly variant: VariantName;
  readonly preset: Preset;
  readonly preprocessing: Preprocessing;
  readonly labels: ReleaseLabels;
  readonly outOfDistribution: OutOfDistribution | null;
  readonly decoding: DecodingOptions;
  readonly quantization: Quantization;
  readonly provenance: Provenance;
  readonly evaluation: Evaluation;
  readonly files: Readonly<Record<string, FileDigest>>;
}

export interface Manifest extends ManifestContent {
  /**
   * `rs-` and 24 hex digits of the SHA-256 of everything else in its manifest as it was written, the
   * digests of the files included.
   */
  readonly id: string;
}

const idPattern = /^rs-[0-9a-f]{24}$/;
export const isReleaseId = (id: string): boolean => idPattern.test(id);

/** Throws INVALID_ARGUMENT for what cannot be a release's id; call it before an id becomes a path. */
export function checkReleaseId(id: string, field = 'release'): string {
  if (isReleaseId(id)) return id;
  const came = JSON.stringify(id.slice(0, 80));
  throw invalidArgument('RELEASE_ID_INVALID', field, `got ${came}, expected rs- and 24 hex digits`);
}

/** JSON with sorted keys and no spaces: the same content gives the same bytes. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const written = entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`);
  return `{${written.join(',')}}`;
}

/** The id of a manifest with this content, as it is written. */
export function releaseIdOf(content: object): string {
  const { id: _, ...rest } = content as { readonly id?: unknown };
  const hash = createHash('sha256').update(canonicalJson(rest)).digest('hex');
  return `rs-${hash.slice(0, 24)}`;
}

const wrong = (field: string, message: string): DomainError =>
  invalidArgument('RELEASE_MANIFEST', field, message);

/** The first field that zod refused, below `where`. */
function firstIssue(error: z.ZodError, where: string): { field: string; message: string } {
  const [issue] = error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const field = [where, ...(issue?.path ?? []).map(String), ...unknown].join('.');
  const message = unknown.length > 0 ? 'is not a known field' : (issue?.message ?? 'is invalid');
  return { field, message };
}

const segment = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** Plain relative names only: nothing of a manifest may reach outside its folder. */
function checkPath(path: string, where: string): void {
  const segments = path.split('/');
  const plain = segments.length <= 4 && segments.every((part) => segment.test(part));
  if (plain && path !== manifestName) return;
  const message = 'expected a relative path of letters, digits, ., _ and -, not above its folder';
  throw wrong(`${where}.${JSON.stringify(path.slice(0, 80))}`, message);
}

/** A manifest of version 1 as version 2 has it; anything else as it is. */
function upgraded(json: unknown): unknown {
  if ((json as { formatVersion?: unknown } | null)?.formatVersion !== 1) return json;
  const { quantisation: quantization, evaluation, ...rest } = json as Record<string, unknown>;
  const { quantisation: agreement, ...tables } = {
    ...(evaluation as object),
  } as Manifest['evaluation'];
  return {
    ...rest,
    formatVersion,
    quantization,
    evaluation: agreement === undefined ? evaluation : { ...tables, quantization: agreement },
  };
}

/**
 * Checks a manifest that came as JSON, of this format version or an earlier one, and returns it as one
 * of this version. Throws INVALID_ARGUMENT that names the first wrong field; an id that is not that of
 * the content is one.
 */
export function parseManifest(json: unknown, where = 'release'): Manifest {
  const parsed = manifest.safeParse(upgraded(json));
  if (!parsed.success) {
    const { field, message } = firstIssue(parsed.error, where);
    throw wrong(field, message);
  }
  const { data } = parsed;
  const { mean, std } = data.outOfDistribution ?? { mean: [], std: [] };
  if (mean.length !== std.length) {
    const message = `${std.length} values, but mean has ${mean.length}`;
    throw wrong(`${where}.outOfDistribution.std`, message);
  }
  for (const path of Object.keys(data.files)) checkPath(path, `${where}.files`);
  for (const path of releaseFiles) {
    if (!Object.hasOwn(data.files, path)) throw wrong(`${where}.files.${path}`, 'is missing');
  }
  const checked: Manifest = {
    ...data,
    preset: parsePreset(data.preset, `${where}.preset`),
    preprocessing: parsePreprocessing(data.preprocessing, `${where}.preprocessing`),
    decoding: parseDecodingOptions(data.decoding, `${where}.decoding`),
  };
  // The id is that of the JSON as it was written, before upgrades and defaults.
  const id = releaseIdOf(json as object);
  if (data.id !== id) throw wrong(`${where}.id`, `is ${data.id}, but the content's is ${id}`);
  return checked;
}
