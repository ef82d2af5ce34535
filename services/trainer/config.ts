import { choice, type Config, integer, list, optional, text } from '../../lib/service/settings.ts';
import { lifecycleSettings, listenSettings } from '../../lib/service/server-settings.ts';
import { standardGate } from '../../lib/releases/gate.ts';

/** Every setting of the trainer service. How a run trains is in its own config: lib/training/config.ts. */
export const settings = {
  ...listenSettings(50055, 9468),
  runs: text('RUNS', 'runs', 'folder of the runs and their database'),
  cacheDir: text('CACHE_DIR', 'cache', 'folder of prepared datasets'),
  maxRuns: integer('MAX_RUNS', 1, 'runs that train at the same time; others are queued', {
    min: 1,
  }),
  threads: integer('THREADS', 0, 'ONNX Runtime threads of an evaluation; 0: all cores'),
  gateMetrics: list(
    'GATE_METRICS',
    standardGate.join(','),
    "metrics on which a promoted release must not be worse than the channel's",
  ),
  executor: choice('EXECUTOR', 'process', ['process', 'kubernetes'], 'where runs are trained'),
  jobImage: optional('JOB_IMAGE', 'image of the Jobs; required for the executor kubernetes'),
  jobNamespace: text('JOB_NAMESPACE', 'radscribe', 'namespace of the Jobs'),
  jobServiceAccount: text('JOB_SERVICE_ACCOUNT', 'training-run', 'service account of the Jobs'),
  jobQueue: text('JOB_QUEUE', '', 'Kueue LocalQueue of the Jobs; empty: none'),
  jobGpus: integer('JOB_GPUS', 1, 'GPUs of each Job'),
  jobClaims: list(
    'JOB_CLAIMS',
    'runs:/var/lib/radscribe/runs,store:/var/lib/radscribe/store',
    'persistent volume claims of each Job, each CLAIM:FOLDER',
  ),
  ...lifecycleSettings,
  graceMs: integer('GRACE_MS', 30_000, 'time for calls and runs to end at shutdown, ms'),
} as const;

export type TrainerSettings = Config<typeof settings>;
