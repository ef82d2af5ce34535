import type { Type } from '../graph/value.ts';
import type { Tensor } from '../graph/types.ts';
import type { Preset } from '../models/preset.ts';
import { isLabelVariant } from '../models/variants.ts';
import { type LabelState, observations } from '../text/labels/observations.ts';
import type { TrainingConfig } from './config.ts';
import { augmentGrey, plainGrey, seededUniform } from './data/augment.ts';
import type { Prepared, PreparedStudy } from './data/prepared.ts';
import type { Texts } from './data/texts.ts';
import type { FeatureCache } from './features.ts';
import type { StagePlan } from './stages.ts';

export interface FeedSource {
  readonly plan: StagePlan;
  readonly config: TrainingConfig;
  readonly preset: Preset;
  readonly prepared: Prepared;
  readonly texts: Texts;
  /** Of the frozen vision encoder; for stages that do not read images. */
  readonly features: FeatureCache | undefined;
  /** Image tokens per study. */
  readonly imageTokens: number;
}

/** Studies to feed in micro-batches of `size`. */
export interface FeedRequest {
  readonly studies: readonly PreparedStudy[];
  readonly size: number;
  /** Seeds augmentation and sampling; null: neither, as in validation. */
  readonly epoch: number | null;
  readonly signal?: AbortSignal;
}

const labelCount = observations.length;

/**
 * A label's target, 0 or 1, and its weight in the loss, 0 for a label that is ignored. A blank one is a
 * negative, as in CheXpert.
 */
export function targetOf(
  state: LabelState,
  uncertain: TrainingConfig['labels']['uncertain'],
): readonly [number, number] {
  if (state === 'uncertain')
    return [uncertain === 'positive' ? 1 : 0, uncertain === 'ignore' ? 0 : 1];
  return [state === 'positive' ? 1 : 0, 1];
}

const samplesImage = ({ plan, config }: FeedSource): boolean =>
  config.sampleImageTokens && plan.reportLoss > 0;

/** The inputs of a micro-batch of `rows` studies, as `makeFeeds` gives them. */
export function feedTypes(source: FeedSource, rows: number | 'batch'): Record<string, Type> {
  const { plan, preset, features } = source;
  const side = preset.imageSize;
  const types: Record<string, Type> = {};
  if (plan.reads === 'grey') types['grey'] = { dtype: 'float32', shape: [rows, 1, side, side] };
  else
    types[plan.reads] = {
      dtype: 'float32',
      shape: [rows, ...(features?.shapeOf(plan.reads) ?? [])],
    };
  if (plan.labelLoss > 0) {
    types['targets'] = { dtype: 'float32', shape: [rows, labelCount] };
    types['labelled'] = { dtype: 'float32', shape: [rows, labelCount] };
  }
  if (plan.reportLoss > 0) {
    types['textIds'] = { dtype: 'int64', shape: [rows, 'text'] };
    types['textMask'] = { dtype: 'int64', shape: [rows, 'text'] };
    types['decoderIds'] = { dtype: 'int64', shape: [rows, 'length'] };
    types['answers'] = { dtype: 'int64', shape: [rows, 'length'] };
    if (samplesImage(source) && rows !== 'batch') {
      types['imageIndex'] = { dtype: 'int64', shape: [preset.imageSample] };
    }
  }
  return types;
}

/** The feeds of some micro-batches, stacked along a leading axis. */
export async function makeFeeds(
  source: FeedSource,
  { studies, size, epoch, signal }: FeedRequest,
): Promise<Record<string, Tensor>> {
  const { plan } = source;
  const micro = studies.length / size;
  const leading = [micro, size];
  const feeds: Record<string, Tensor> = {};
  feeds[plan.reads] =
    plan.reads === 'grey'
      ? await greyFeed(source, studies, leading, epoch, signal)
      : await featureFeed(source, plan.reads, studies, leading);
  if (plan.labelLoss > 0) Object.assign(feeds, labelFeeds(source, studies, leading));
  if (plan.reportLoss > 0) {
    Object.assign(feeds, textFeeds(source, studies, leading));
    if (epoch !== null && samplesImage(source)) {
      feeds['imageIndex'] = imageSamples(source, studies, size, epoch);
    }
  }
  return feeds;
}

async function greyFeed(
  { config, preset, prepared }: FeedSource,
  studies: readonly PreparedStudy[],
  leading: readonly number[],
  epoch: number | null,
  signal: AbortSignal | undefined,
): Promise<Tensor> {
  const side = preset.imageSize;
  const data = new Float32Array(studies.length * side * side);
  for (const [i, study] of studies.entries()) {
    signal?.throwIfAborted();
    const pixels = await prepared.pixels(study);
    if (epoch === null) plainGrey(pixels, data, i * side * side);
    else {
      const uniform = seededUniform(config.seed, study.id, epoch);
      augmentGrey(pixels, side, config.augmentation, uniform, data, i * side * side);
    }
  }
  return { dtype: 'float32', shape: [...leading, 1, side, side], data };
}

async function featureFeed(
  { features }: FeedSource,
  kind: 'tokens' | 'pooled',
  studies: readonly PreparedStudy[],
  leading: readonly number[],
): Promise<Tensor> {
  if (!features) throw new RangeError(`a stage that reads ${kind} needs the features`);
  const shape = features.shapeOf(kind);
  const each = shape.reduce((product, dim) => product * dim, 1);
  const data = new Float32Array(studies.length * each);
  for (const [i, study] of studies.entries()) data.set(await features.read(kind, study), i * each);
  return { dtype: 'float32', shape: [...leading, ...shape], data };
}

function labelFeeds(
  { config }: FeedSource,
  studies: readonly PreparedStudy[],
  leading: readonly number[],
): Record<string, Tensor> {
  const targets = new Float32Array(studies.length * labelCount);
  const labelled = new Float32Array(studies.length * labelCount);
  studies.forEach(({ labels }, row) => {
    labels.forEach((state, label) => {
      const [target, counts] = targetOf(state, config.labels.uncertain);
      targets[row * labelCount + label] = target;
      labelled[row * labelCount + label] = counts;
    });
  });
  const shape = [...leading, labelCount];
  return {
    targets: { dtype: 'float32', shape, data: targets },
    labelled: { dtype: 'float32', shape, data: labelled },
  };
}

/** Rows of ids, padded at their end to one length. */
function padded(
  rows: readonly (readonly number[])[],
  leading: readonly number[],
  pad: number,
): Tensor<'int64'> {
  // Multiples of 8, so that the engine gets few different shapes.
  const length = Math.ceil(Math.max(1, ...rows.map((row) => row.length)) / 8) * 8;
  const data = new BigInt64Array(rows.length * length).fill(BigInt(pad));
  rows.forEach((row, i) => row.forEach((id, at) => (data[i * length + at] = BigInt(id))));
  return { dtype: 'int64', shape: [...leading, length], data };
}

function textFeeds(
  { texts, config }: FeedSource,
  studies: readonly PreparedStudy[],
  leading: readonly number[],
): Record<string, Tensor> {
  const read = studies.map((study) => texts.encoderIds(study));
  const mask = read.map((row) => row.map(() => 1));
  const reports = studies.map((study) => texts.decoderIds(study));
  // The text of a plain variant without indication is [SEP] alone: nothing to pad.
  const isAlone = !isLabelVariant(config.variant) && config.indication === 'none';
  const pair = (rows: readonly (readonly number[])[]): Tensor =>
    isAlone
      ? {
          dtype: 'int64',
          shape: [...leading, 1],
          data: BigInt64Array.from(rows, (row) => BigInt(row[0] ?? 0)),
        }
      : padded(rows, leading, 0);
  return {
    textIds: pair(read),
    textMask: pair(mask),
    decoderIds: padded(
      reports.map(({ reads }) => reads),
      leading,
      0,
    ),
    answers: padded(
      reports.map(({ answers }) => answers),
      leading,
      -100,
    ),
  };
}

/** For each micro-batch a sorted sample of the image tokens. */
function imageSamples(
  { config, preset, imageTokens }: FeedSource,
  studies: readonly PreparedStudy[],
  size: number,
  epoch: number,
): Tensor<'int64'> {
  const micro = studies.length / size;
  const rows = Array.from({ length: micro }, (_, i) => {
    const uniform = seededUniform(config.seed, `image tokens ${studies[i * size]?.id}`, epoch);
    const ranks = Array.from({ length: imageTokens }, (_, token) => ({ token, rank: uniform() }));
    return ranks
      .sort((a, b) => a.rank - b.rank)
      .slice(0, preset.imageSample)
      .map(({ token }) => token)
      .sort((a, b) => a - b);
  });
  return {
    dtype: 'int64',
    shape: [micro, preset.imageSample],
    data: BigInt64Array.from(rows.flat(), BigInt),
  };
}

/** A single micro-batch without the leading axis. */
export const unstacked = (feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, shape, data }]) => [
      name,
      { dtype, shape: shape.slice(1), data },
    ]),
  );
