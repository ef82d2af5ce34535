import { bind } from '../../lib/rpc/server.ts';
import { trainerService } from '../../lib/rpc/services.ts';
import { startWatchedServer } from '../../lib/service/watched-server.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import { DomainError, invalidArgument } from '../../lib/errors.ts';
import { RunDatabase } from '../../lib/training/database.ts';
import { type Executor, processExecutor } from './runs/executor.ts';
import { showProgress } from './runs/metrics.ts';
import { Runner } from './runs/runner.ts';
import { trainerImplementation } from './service.ts';
import type { TrainerSettings } from './config.ts';
import { evaluateOneAtATime } from './evaluation.ts';

export interface RunningTrainer {
  readonly port: number;
  readonly metricsPort: number;
  /** Refuses new calls, stops the child processes with a checkpoint, then frees everything. */
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
  const closing = new AbortController();
  const implementation = trainerImplementation({
    database,
    runner,
    store,
    evaluate: evaluateOneAtATime(),
    cache: config.cacheDir,
    threads: config.threads,
    gate: config.gateMetrics,
    closing: closing.signal,
  });
  showProgress(database, telemetry.metrics);
  const services = [bind(trainerService, implementation)];
  const { server, metrics } = await startWatchedServer(config, telemetry, services);
  runner.start();
  server.setReady(true);
  const close = async (): Promise<void> => {
    // A watch lasts as long as its run; its client connects again and goes on.
    const message = 'the trainer is shutting down';
    closing.abort(new DomainError('UNAVAILABLE', 'SHUTTING_DOWN', message));
    // Together: runs write their checkpoints while calls end.
    await Promise.all([server.close(), runner.close()]);
    await metrics.close();
    store.close();
    database.close();
  };
  let closed: Promise<void> | undefined;
  return { port: server.port, metricsPort: metrics.port, close: () => (closed ??= close()) };
}

async function executorOf(
  config: TrainerSettings,
  database: RunDatabase,
  { logger }: Telemetry,
): Promise<Executor> {
  const worker = { runs: config.runs, cache: config.cacheDir, gate: config.gateMetrics };
  if (config.executor === 'process') {
    return processExecutor({ ...worker, onLine: (run, line) => logWorker(logger, run, line) });
  }
  const { jobImage: image } = config;
  if (image === undefined) {
    const message =
      'is not set, and RADSCRIBE_EXECUTOR is kubernetes: set it to the image of the Jobs';
    throw invalidArgument('CONFIG_INVALID', 'RADSCRIBE_JOB_IMAGE', message);
  }
  // Only here: the client is large, and a trainer without Kubernetes does not need it.
  const { clusterConfig, kubernetesExecutor } = await import('./runs/kubernetes.ts');
  return kubernetesExecutor({
    config: clusterConfig(),
    image,
    namespace: config.jobNamespace,
    serviceAccount: config.jobServiceAccount,
    queue: config.jobQueue,
    gpus: config.jobGpus,
    claims: config.jobClaims,
    ...worker,
    isCancelled: (run) => database.get(run).cancelRequested,
    onError: (run, err) => logger.warn({ run, err }, 'a call to the API server failed'),
  });
}

/** Logs a line of a worker: a JSON object with its kind, or text. */
function logWorker(logger: Telemetry['logger'], run: string, line: string): void {
  try {
    const { kind, ...facts } = JSON.parse(line) as Readonly<Record<string, unknown>>;
    logger.info({ ...facts, run }, String(kind));
  } catch {
    logger.warn({ run }, line);
  }
}
