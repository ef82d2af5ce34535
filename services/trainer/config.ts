import { choice, type Config, integer, list, optional, text } from '../../lib/service/settings.ts';
import { lifecycleSettings, listenSettings } from '../../lib/service/server-settings.ts';
import { standardGate } from '../../lib/releases/gate.ts';

/** Every setting of the trainer service. What a run trains is its own config, see config.ts. */
export const settings = {
  ...listenSettings(50055, 9468),
  runs: text('RUNS', 'runs', 'folder of the runs and their database'),
  cacheDir: text('CACHE_DIR', 'cache', 'folder of prepared datasets'),
  maxRuns: integer('MAX_RUNS', 1, 'runs at a time; the others wait in order', { min: 1 }),
  threads: integer('THREADS', 0, 'threads of the engine for evaluations; 0 takes all cores'),
  gateMetrics: list(
    'GATE_METRICS',
    standardGate.join(','),
    'a release that is worse than the channel on one is not promoted, unless forced',
  ),
  executor: choice('EXECUTOR', 'process', ['process', 'kubernetes'], 'where runs execute'),
  jobImage: optional('JOB_IMAGE', 'image of the Jobs; kubernetes needs it'),
  jobNamespace: text('JOB_NAMESPACE', 'radscribe', 'namespace of the Jobs'),
  jobServiceAccount: text('JOB_SERVICE_ACCOUNT', 'training-run', 'service account of the Jobs'),
  jobQueue: text('JOB_QUEUE', '', 'Kueue queue of the Jobs; empty for none'),
  jobGpus: integer('JOB_GPUS', 1, 'GPUs of a Job'),
  jobClaims: list(
    'JOB_CLAIMS',
    'runs:/var/lib/radscribe/runs,store:/var/lib/radscribe/store',
    'volume claims of a Job, each CLAIM:FOLDER',
  ),
  ...lifecycleSettings,
  graceMs: integer('GRACE_MS', 30_000, 'what calls and runs under way get to end in, ms'),
} as const;

export type TrainerSettings = Config<typeof settings>;
