import { bind } from '../../lib/rpc/server.ts';
import { trainerService } from '../../lib/rpc/services.ts';
import { startWatchedServer } from '../../lib/service/watched-server.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import { invalidArgument } from '../../lib/errors.ts';
import { RunDatabase } from '../../lib/training/database.ts';
import { type Executor, processExecutor } from './runs/executor.ts';
import { followMetrics } from './runs/metrics.ts';
import { Runner } from './runs/runner.ts';
import { trainerImplementation } from './service.ts';
import type { TrainerSettings } from './config.ts';
import { Trainer } from './trainer.ts';

export interface RunningTrainer {
  readonly port: number;
  readonly metricsPort: number;
  /** Refuses new calls, asks runs of this machine for a checkpoint, then frees everything. */
  close(): Promise<void>;
}

/** Wires the trainer service and listens. `executor` replaces what the settings choose, for tests. */
export async function start(
  config: TrainerSettings,
  telemetry: Telemetry,
  executor?: Executor,
): Promise<RunningTrainer> {
  const { maxRuns } = config;
  const database = new RunDatabase(config.runs);
  const store = openStore(config.store);
  const onError = (run: string, err: unknown): void =>
    telemetry.logger.error({ run, err }, 'the run could not be executed');
  const runner = new Runner({
    database,
    executor: executor ?? (await executorOf(config, database, telemetry)),
    maxRuns,
    onError,
  });
  const trainer = new Trainer({
    database,
    runner,
    store,
    cache: config.cacheDir,
    threads: config.threads,
    gate: config.gateMetrics,
  });
  const services = [bind(trainerService, trainerImplementation(trainer))];
  const { server, metrics } = await startWatchedServer(config, telemetry, services);
  runner.start();
  const unfollow = followMetrics(database, telemetry.metrics);
  server.setReady(true);
  return {
    port: server.port,
    metricsPort: metrics.port,
    close: async () => {
      unfollow();
      // Together: runs write their checkpoints while calls end.
      await Promise.all([server.close(), runner.close()]);
      store.close();
      database.close();
      await metrics.close();
    },
  };
}

async function executorOf(
  config: TrainerSettings,
  database: RunDatabase,
  { logger }: Telemetry,
): Promise<Executor> {
  const { runs, cacheDir: cache } = config;
  if (config.executor === 'process') {
    return processExecutor({ runs, cache, onLine: (run, line) => logger.info({ run }, line) });
  }
  const { jobImage: image } = config;
  if (image === undefined) {
    const message = 'is not set; runs on Kubernetes need the image of their Jobs';
    throw invalidArgument('CONFIG_INVALID', 'RADSCRIBE_JOB_IMAGE', message);
  }
  // Only here: the client is large, and a machine of one's own does not need it.
  const { clusterConfig, kubernetesExecutor } = await import('./runs/kubernetes.ts');
  return kubernetesExecutor({
    config: clusterConfig(),
    image,
    namespace: config.jobNamespace,
    serviceAccount: config.jobServiceAccount,
    queue: config.jobQueue,
    gpus: config.jobGpus,
    claims: config.jobClaims,
    runs,
    cache,
    isCancelled: (run) => database.get(run).cancelRequested,
    onError: (run, err) => logger.warn({ run, err }, 'the API server did not answer'),
  });
}
