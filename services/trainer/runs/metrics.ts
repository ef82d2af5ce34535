import type { Metrics } from '../../../lib/telemetry/metrics.ts';
import type { RunDatabase } from '../../../lib/training/database.ts';

const everyMs = 2000;

/** Stages of a run, as the metrics call them. */
const runStages: Readonly<Record<string, string>> = {
  labels: 'labeler',
  refit: 'labeler',
  stage1: 'one',
  stage2: 'two',
};

const field = (data: Readonly<Record<string, unknown>>, name: string): number | undefined => {
  const value = data[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
};

/** Shows the progress of what is being trained as metrics; runs tell the database, wherever they are. */
export function followMetrics(database: RunDatabase, metrics: Metrics): () => void {
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
  const seen = new Map<string, number>();
  const look = (): void => {
    for (const { id, state } of database.list({ limit: 50 })) {
      if (state !== 'running') continue;
      for (const { sequence, kind, data } of database.events(id, seen.get(id) ?? 0)) {
        seen.set(id, sequence);
        const stage = runStages[String(data['stage'])];
        if (kind !== 'progress' || stage === undefined) continue;
        for (const [name, gauge] of Object.entries(gauges)) {
          const value = field(data, name);
          if (value !== undefined) gauge.set({ run_stage: stage }, value);
        }
      }
    }
  };
  const timer = setInterval(look, everyMs).unref();
  look();
  return () => clearInterval(timer);
}
