import type { Metrics } from '../../../lib/telemetry/metrics.ts';
import type { LatestProgress, RunDatabase } from '../../../lib/training/database.ts';
import type { Progress } from '../../../lib/training/progress.ts';

/** Values of the label `run_stage`, and the stages of a run that each stands for. */
const runStages: Readonly<Record<string, readonly string[]>> = {
  labeler: ['labels', 'refit'],
  one: ['stage1'],
  two: ['stage2'],
};

/** What the metrics show of a stage: its newest progress. Only the run's present stage has time left. */
function latestOf(database: RunDatabase, stages: readonly string[]): Progress | undefined {
  const found = stages.map((stage) => database.latestProgress(stage));
  const latest = found.reduce<LatestProgress | undefined>(
    (best, one) => (best && (!one || one.at < best.at) ? best : one),
    undefined,
  );
  return latest && (latest.isCurrent ? latest.progress : { ...latest.progress, etaSeconds: 0 });
}

/**
 * Shows the newest progress of each stage as metrics. It is read from the database whenever the metrics
 * are read, so that no stage is too short to be shown, and what a run reported last stays after its end
 * and after a restart. Runs share the labels: the one that reported last is shown.
 */
export function showProgress(database: RunDatabase, metrics: Metrics): void {
  const gauges = {
    loss: metrics.trainingLoss,
    learningRate: metrics.trainingLearningRate,
    gradientNorm: metrics.trainingGradientNorm,
    lossScale: metrics.trainingLossScale,
    studiesPerSecond: metrics.trainingStudiesPerSecond,
    tokensPerSecond: metrics.trainingTokensPerSecond,
    cpuUtilization: metrics.trainingCpuUtilization,
    etaSeconds: metrics.trainingEta,
    step: metrics.trainingStep,
  } as const;
  // All metrics of a scrape are collected in one turn of the event loop: one reading serves them.
  let reading: ReadonlyMap<string, Progress | undefined> | undefined;
  const read = (): ReadonlyMap<string, Progress | undefined> => {
    const stages = Object.entries(runStages);
    reading = new Map(stages.map(([name, own]) => [name, latestOf(database, own)]));
    queueMicrotask(() => (reading = undefined));
    return reading;
  };
  for (const [field, gauge] of Object.entries(gauges)) {
    const collect = (): void => {
      gauge.reset();
      for (const [runStage, latest] of reading ?? read()) {
        const value = latest?.[field as keyof typeof gauges];
        if (Number.isFinite(value)) gauge.set({ run_stage: runStage }, value as number);
      }
    };
    Object.assign(gauge, { collect });
  }
}
