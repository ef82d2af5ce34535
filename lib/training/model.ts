import { o } from '../graph/build.ts';
import { binaryCrossEntropy, softmaxCrossEntropy } from '../graph/losses.ts';
import { type Value, constantOf } from '../graph/value.ts';
import { normalizeInGraph } from '../inference/normalization.ts';
import type { Training } from '../models/mode.ts';
import type { Scope } from '../models/parameters.ts';
import type { Preset } from '../models/preset.ts';
import { decoderModel, encoderModel, labelerModel, visionModel } from '../models/variants.ts';
import type { TrainingConfig } from './config.ts';
import type { StagePlan } from './stages.ts';

export type Batch = Readonly<Record<string, Value>>;

export interface StageContext {
  readonly plan: StagePlan;
  readonly config: TrainingConfig;
  readonly preset: Preset;
  /** Of the 14 labels. */
  readonly positiveWeights: readonly number[];
}

export interface StageResult {
  readonly loss: Value;
  /** Teacher-forced: share of the report's tokens that got the highest logit. */
  readonly accuracy?: Value;
  /** Float scalar: how many tokens the accuracy is over. */
  readonly counted?: Value;
  /** [batch, 14] */
  readonly logits?: Value;
}

const need = (batch: Batch, name: string): Value => {
  const value = batch[name];
  if (!value) throw new RangeError(`the batch has no ${name}`);
  return value;
};

/** What one stage computes of a batch: its loss, and the outputs that validation reads. */
export function stageModel(
  root: Scope,
  batch: Batch,
  { plan, config, preset, positiveWeights }: StageContext,
  training?: Training,
): StageResult {
  const { variant } = config;
  const features =
    plan.reads === 'grey'
      ? visionModel(
          root,
          normalizeInGraph(need(batch, 'grey'), config.preprocessing),
          preset,
          variant,
          training,
        )
      : { tokens: batch['tokens'], pooled: batch['pooled'] };
  const losses: Value[] = [];
  const result: { accuracy?: Value; counted?: Value; logits?: Value } = {};
  if (plan.reportLoss > 0) {
    const report = reportLoss(
      root,
      batch,
      features.tokens ?? need(batch, 'tokens'),
      config,
      preset,
      training,
    );
    losses.push(report.loss);
    Object.assign(result, { accuracy: report.accuracy, counted: report.counted });
  }
  if (plan.labelLoss > 0) {
    const logits = labelerModel(root, features.pooled ?? need(batch, 'pooled'), training);
    const loss = binaryCrossEntropy(logits, need(batch, 'targets'), {
      positiveWeights: constantOf(positiveWeights, 'float32'),
      counted: need(batch, 'labelled'),
    });
    losses.push(plan.labelLoss === 1 ? loss : o.Mul(loss, plan.labelLoss));
    result.logits = logits;
  }
  const [first, second] = losses;
  if (!first) throw new RangeError(`${plan.name} has no loss`);
  return { loss: second ? o.Add(first, second) : first, ...result };
}

function reportLoss(
  root: Scope,
  batch: Batch,
  tokens: Value,
  { variant, maskMode }: TrainingConfig,
  preset: Preset,
  training: Training | undefined,
): { readonly loss: Value; readonly accuracy: Value; readonly counted: Value } {
  const inputs = {
    tokens,
    textIds: need(batch, 'textIds'),
    textMask: need(batch, 'textMask'),
    ...(training && batch['imageIndex'] && { imageIndex: batch['imageIndex'] }),
  };
  const memory = encoderModel(root, inputs, preset, variant, { maskMode, training });
  const logits = decoderModel(root, need(batch, 'decoderIds'), memory, preset, training);
  const rows = o.flattenTo(logits, 2);
  const answers = o.Reshape(need(batch, 'answers'), [rows.shape[0] ?? 1]);
  const isCounted = o.Cast(o.Greater(answers, -1), 'float32');
  const counted = o.ReduceSum(isCounted);
  const isRight = o.Cast(o.Equal(o.ArgMax(rows, 1), answers), 'float32');
  const accuracy = o.Div(o.ReduceSum(o.Mul(isRight, isCounted)), o.Max(counted, 1));
  return { loss: softmaxCrossEntropy(rows, answers), accuracy, counted };
}
