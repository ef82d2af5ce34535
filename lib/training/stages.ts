import { type Schedule, constantSchedule, cosineSchedule } from '../graph/schedule.ts';
import { isLabelVariant } from '../models/variants.ts';
import type { StageName } from './checkpoint.ts';
import type { EarlyStopping, TrainingConfig } from './config.ts';

/** The input of a stage: the image of a study, or its features by the frozen vision encoder. */
type Reads = 'grey' | 'tokens' | 'pooled';
type TrainedStage = Exclude<StageName, 'finish'>;

/** One stage of the procedure, as data. */
export interface StagePlan {
  readonly name: TrainedStage;
  readonly epochs: number;
  readonly reads: Reads;
  /** Weight of the loss of the report, and of the labels. */
  readonly reportLoss: number;
  readonly labelLoss: number;
  readonly isTrained: (parameter: string) => boolean;
  /** Batch normalization uses the batch's own statistics, and updates the running ones. */
  readonly batchStatistics: boolean;
  readonly rate: (parameter: string, totalSteps: number) => Rate;
  readonly resampled: boolean;
  readonly optimizer: 'adamw' | 'muon';
  readonly earlyStopping: EarlyStopping;
}

const partOf = (parameter: string): string => parameter.split('.', 1)[0] ?? '';
/** The linear map between encoder and decoder is trained with the decoder. */
const groupOf = (parameter: string): string =>
  partOf(parameter) === 'projection' ? 'decoder' : partOf(parameter);

/** A learning rate over the steps of a stage. */
export interface Rate {
  readonly peak: number;
  readonly floor: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

const rateOver = (
  { peak, floor }: Pick<Rate, 'peak' | 'floor'>,
  warmupShare: number,
  totalSteps: number,
): Rate => {
  const warmupSteps = Math.min(Math.round(warmupShare * totalSteps), totalSteps - 1);
  return { peak, floor, warmupSteps, totalSteps };
};

export const scheduleOf = (rate: Rate): Schedule =>
  rate.warmupSteps === 0 && rate.peak === rate.floor
    ? constantSchedule(rate.peak)
    : cosineSchedule(rate);

/** The learning rate at a step, as the schedule computes it; for reports of progress. */
export function rateAt({ peak, floor, warmupSteps, totalSteps }: Rate, step: number): number {
  if (step < warmupSteps) return ((step + 1) * peak) / warmupSteps;
  const done = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
  return (peak + floor) / 2 + (Math.cos(Math.PI * done) * (peak - floor)) / 2;
}

/** The stages that a run trains, in order. */
export function planStages(config: TrainingConfig): StagePlan[] {
  const { labels, stage1, stage2 } = config;
  const oneRate =
    (learningRate: typeof labels.learningRate, warmupShare: number) =>
    (_: string, totalSteps: number) =>
      rateOver(learningRate, warmupShare, totalSteps);
  const classifier = {
    reportLoss: 0,
    labelLoss: 1,
    resampled: labels.imbalance === 'resampling',
    optimizer: labels.trainVision ? labels.optimizer : 'adamw',
    rate: oneRate(labels.learningRate, labels.warmupShare),
    earlyStopping: labels.earlyStopping,
  };
  const plans: StagePlan[] = [
    {
      ...classifier,
      name: 'labels',
      epochs: labels.epochs,
      reads: labels.trainVision ? 'grey' : 'pooled',
      isTrained: (name) =>
        partOf(name) === 'labeler' || (labels.trainVision && partOf(name) === 'vision'),
      batchStatistics: labels.trainVision && labels.batchStatistics,
    },
    {
      name: 'stage1',
      epochs: stage1.epochs,
      reads: stage1.frozen.includes('vision') ? 'tokens' : 'grey',
      reportLoss: 1,
      labelLoss: 0,
      isTrained: (name) =>
        name.startsWith('encoder.label_attention.')
          ? isLabelVariant(config.variant)
          : !stage1.frozen.some((part) => part === groupOf(name)),
      batchStatistics: false,
      rate: oneRate(stage1.learningRate, stage1.warmupShare),
      resampled: false,
      optimizer: 'adamw',
      earlyStopping: stage1.earlyStopping,
    },
    {
      name: 'stage2',
      epochs: stage2.epochs,
      reads: stage2.frozen.includes('vision') ? 'tokens' : 'grey',
      reportLoss: 1,
      labelLoss: stage2.frozen.includes('vision') ? 0 : stage2.labelLoss,
      isTrained: (name) => !stage2.frozen.some((part) => part === groupOf(name)),
      batchStatistics: false,
      rate: (name, totalSteps) =>
        rateOver(
          groupOf(name) === 'decoder' ? stage2.decoderRate : stage2.encoderRate,
          stage2.warmupShare,
          totalSteps,
        ),
      resampled: false,
      optimizer: 'adamw',
      earlyStopping: stage2.earlyStopping,
    },
    {
      ...classifier,
      name: 'refit',
      optimizer: 'adamw',
      epochs: stage2.frozen.includes('vision') || stage2.epochs === 0 ? 0 : labels.refitEpochs,
      reads: 'pooled',
      isTrained: (name) => partOf(name) === 'labeler',
      batchStatistics: false,
    },
  ];
  return plans.filter(({ epochs }) => epochs > 0);
}
