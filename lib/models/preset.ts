import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { DomainError, invalidArgument } from '../errors.ts';
import type { DenseNetConfig } from './densenet.ts';
import type { FusionConfig } from './fusion.ts';
import type { ResNetConfig } from './resnet.ts';
import type { T5Config } from './t5.ts';
import type { VitConfig } from './vit.ts';

/** The sizes of all parts of a variant, and the limits of its requests. Plain JSON. */
export interface Preset {
  readonly name: string;
  /** Images are square, this many pixels wide and high. */
  readonly imageSize: number;
  readonly densenet: DenseNetConfig;
  readonly resnet: ResNetConfig;
  readonly vit: VitPreset;
  /** Its `vocabulary` is that of the encoder's tokenizer, its `cls` and `sep` are ids in it. */
  readonly fusion: FusionConfig;
  /** Its `vocabulary` is that of the decoder's tokenizer, with pad (and start) 0 and eos 1. */
  readonly t5: T5Config;
  /** Image tokens kept where training samples them as augmentation. */
  readonly imageSample: number;
  /** Tokens of label or indication text that the encoder reads, without its closing [SEP]. */
  readonly maxTextTokens: number;
  /** Tokens of a report, the closing eos included. */
  readonly maxReportTokens: number;
}

interface VitPreset extends VitConfig {
  /** Patches that are averaged into one token, along each side: BERT has only 512 positions. */
  readonly poolGrid: number;
}

const count = z.int().min(1);
const schema: z.ZodType<Preset> = z.strictObject({
  name: z.string().min(1),
  imageSize: count.max(4096),
  densenet: z.strictObject({
    growth: count,
    blocks: z.array(count).length(4),
    initial: count,
    bottleneck: count,
  }),
  resnet: z.strictObject({ layers: z.array(count).length(4), width: count }),
  vit: z.strictObject({
    hidden: count,
    layers: count,
    heads: count,
    intermediate: count,
    patch: count,
    poolGrid: count,
  }),
  fusion: z.strictObject({
    hidden: count,
    layers: count,
    heads: count,
    intermediate: count,
    vocabulary: count,
    positions: count,
    labelLayers: count,
    cls: z.int().min(0),
    sep: z.int().min(0),
  }),
  t5: z.strictObject({
    dModel: count,
    dKv: count,
    heads: count,
    dFf: count,
    layers: count,
    vocabulary: z.int().min(2),
    buckets: z.int().min(2).multipleOf(2),
    maxDistance: count,
  }),
  imageSample: count,
  maxTextTokens: count,
  maxReportTokens: count,
});

/** Image tokens of each kind of backbone. */
const gridTokens = (side: number): number => side * side;
const convolutionTokens = ({ imageSize }: Preset): number => gridTokens(imageSize / 32);
const vitTokens = ({ imageSize, vit }: Preset): number =>
  gridTokens(imageSize / vit.patch / vit.poolGrid);

/** Conditions between fields: [is it met, field, message if not]. */
function relations(preset: Preset): (readonly [boolean, string, string])[] {
  const { imageSize, vit, fusion, t5 } = preset;
  const cell = vit.patch * vit.poolGrid;
  const tokens = [convolutionTokens(preset), vitTokens(preset)];
  const divides = (whole: number, part: number): boolean => whole % part === 0;
  const below = (id: number, size: number): boolean => id < size;
  return [
    [divides(imageSize, 32), 'imageSize', `${imageSize} is not a multiple of 32`],
    [
      divides(imageSize, cell),
      'imageSize',
      `${imageSize} is not a multiple of vit.patch * vit.poolGrid = ${cell}`,
    ],
    [divides(vit.hidden, vit.heads), 'vit.heads', `${vit.heads} does not divide ${vit.hidden}`],
    [
      divides(fusion.hidden, fusion.heads),
      'fusion.heads',
      `${fusion.heads} does not divide ${fusion.hidden}`,
    ],
    [
      Math.max(...tokens, preset.maxTextTokens + 1) <= fusion.positions,
      'fusion.positions',
      `${fusion.positions} positions are fewer than the ${Math.max(...tokens)} image tokens or ` +
        `the ${preset.maxTextTokens} + 1 text tokens`,
    ],
    [
      preset.imageSample <= Math.min(...tokens),
      'imageSample',
      `${preset.imageSample} of ${Math.min(...tokens)} image tokens cannot be kept`,
    ],
    [below(fusion.cls, fusion.vocabulary), 'fusion.cls', `${fusion.cls} is not in the vocabulary`],
    [below(fusion.sep, fusion.vocabulary), 'fusion.sep', `${fusion.sep} is not in the vocabulary`],
    [
      t5.maxDistance > t5.buckets / 2,
      't5.maxDistance',
      `${t5.maxDistance} is not above half of the ${t5.buckets} buckets`,
    ],
  ];
}

/** Checks a preset. Throws INVALID_ARGUMENT that names the first field that is wrong, below `where`. */
export function parsePreset(json: unknown, where = 'preset'): Preset {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const unknown = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
    const field = [where, ...(issue?.path ?? []).map(String), ...unknown].join('.');
    throw invalidArgument('PRESET_INVALID', field, issue?.message ?? 'is not a preset');
  }
  for (const [holds, field, message] of relations(parsed.data)) {
    if (!holds) throw invalidArgument('PRESET_INVALID', `${where}.${field}`, message);
  }
  return parsed.data;
}

/** The presets that are part of the program. */
export const presetNames = ['paper', 'demo'] as const;

/**
 * A preset by its name, or from a JSON file. Throws NOT_FOUND where there is neither, and
 * INVALID_ARGUMENT for a file that holds no preset.
 */
export function loadPreset(nameOrPath: string): Preset {
  const known = presetNames.find((name) => name === nameOrPath);
  const path = known ? new URL(`presets/${known}.json`, import.meta.url) : nameOrPath;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const message = `${nameOrPath}: neither a preset (${presetNames.join(', ')}) nor a readable file`;
    throw new DomainError('NOT_FOUND', 'PRESET_NOT_FOUND', message, { field: 'preset', cause });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw invalidArgument('PRESET_INVALID', nameOrPath, 'is not JSON', { cause });
  }
  return parsePreset(json, known ? `preset ${known}` : nameOrPath);
}
