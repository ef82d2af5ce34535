import { setTimeout as sleep } from 'node:timers/promises';
import {
  ApiException,
  BatchV1Api,
  KubeConfig,
  type V1Container,
  type V1Job,
} from '@kubernetes/client-node';
import { DomainError, invalidArgument } from '../../../lib/errors.ts';
import type { Run } from '../../../lib/training/database.ts';
import { type Executor, type WorkerSettings, workerArgs, workerEntry } from './executor.ts';

export interface JobOptions extends WorkerSettings {
  readonly image: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Kueue queue; empty for none. */
  readonly queue: string;
  readonly gpus: number;
  /** Volume claims, each CLAIM:FOLDER. */
  readonly claims: readonly string[];
}

/** Pods of a Job that may fail before the Job does; each goes on from the last checkpoint. */
const backoffLimit = 6;
/** Time for a stopped pod to write a checkpoint. */
const graceSeconds = 120;
/** How long an ended Job stays, for its log. */
const keptSeconds = 24 * 3600;
/** The worker's exit code for a run that has failed: another pod would fail too. */
const runFailed = 3;

/** A run that was resumed gets another Job: the one that ended still has the first name. */
export const jobName = ({ id, resumes }: Pick<Run, 'id' | 'resumes'>): string =>
  `radscribe-${id}${resumes > 0 ? `-${resumes}` : ''}`;

/** The Job that trains a run. Its pods have no service account token and no permissions. */
export function jobOf(run: Run, options: JobOptions): V1Job {
  const labels = {
    'app.kubernetes.io/name': 'training-run',
    'app.kubernetes.io/part-of': 'radscribe',
    'radscribe.dev/run': run.id,
    ...(options.queue !== '' && { 'kueue.x-k8s.io/queue-name': options.queue }),
  };
  const volumes = options.claims.map((claim, i): Claim => {
    const [name = '', mountPath = ''] = claim.split(':');
    if (name === '' || !mountPath.startsWith('/')) {
      throw invalidArgument('CONFIG_INVALID', 'JOB_CLAIMS', `got ${claim}, expected CLAIM:/FOLDER`);
    }
    return { volume: `claim-${i}`, name, mountPath };
  });
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: jobName(run), namespace: options.namespace, labels },
    spec: {
      backoffLimit,
      podFailurePolicy: {
        rules: [
          {
            action: 'FailJob',
            onExitCodes: { containerName: 'train', operator: 'In', values: [runFailed] },
          },
          // An evicted or preempted pod is no failure of the run.
          { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
        ],
      },
      completions: 1,
      parallelism: 1,
      ttlSecondsAfterFinished: keptSeconds,
      ...(options.queue !== '' && { suspend: true }),
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: 'Never',
          serviceAccountName: options.serviceAccount,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: graceSeconds,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 10001,
            runAsGroup: 10001,
            fsGroup: 10001,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          containers: [containerOf(run, options, volumes)],
          volumes: [
            ...volumes.map(({ volume, name }) => ({
              name: volume,
              persistentVolumeClaim: { claimName: name },
            })),
            { name: 'tmp', emptyDir: {} },
          ],
        },
      },
    },
  };
}

interface Claim {
  readonly volume: string;
  readonly name: string;
  readonly mountPath: string;
}

function containerOf(run: Run, options: JobOptions, volumes: readonly Claim[]): V1Container {
  const { image, gpus } = options;
  const devices = gpus > 0 ? { 'nvidia.com/gpu': String(gpus) } : {};
  return {
    name: 'train',
    image,
    args: workerArgs(workerEntry, run.id, options),
    resources: {
      requests: { cpu: '2', memory: '8Gi', ...devices },
      limits: { memory: '32Gi', ...devices },
    },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    volumeMounts: [
      ...volumes.map(({ volume, mountPath }) => ({ name: volume, mountPath })),
      { name: 'tmp', mountPath: '/tmp' },
    ],
  };
}

export interface KubernetesExecutorOptions extends JobOptions {
  readonly config: KubeConfig;
  readonly pollMs?: number;
  /** Whether the run was cancelled: its Job is then removed. */
  readonly isCancelled: (run: string) => boolean;
  /** Gets the error of a failed call to the API server, which is then repeated. */
  readonly onError: (run: string, error: unknown) => void;
}

/** The pod's own cluster, or the one of ~/.kube/config. */
export function clusterConfig(): KubeConfig {
  const config = new KubeConfig();
  config.loadFromDefault();
  return config;
}

/** Trains each run in a Job, created and followed through the API server. Jobs outlive this process. */
export function kubernetesExecutor(options: KubernetesExecutorOptions): Executor {
  const { config, namespace, pollMs = 2000, onError } = options;
  const api = config.makeApiClient(BatchV1Api);
  const name = (run: Run) => ({ name: jobName(run), namespace });
  return {
    async execute(run, signal) {
      await create(api, run, options);
      for (;;) {
        if (signal.aborted) return;
        try {
          const { status } = await api.readNamespacedJob(name(run));
          const ended = status?.conditions?.find(
            ({ type, status: is }) => is === 'True' && (type === 'Complete' || type === 'Failed'),
          );
          if (ended) return;
          if (options.isCancelled(run.id)) await remove(api, name(run));
        } catch (error) {
          // Deleted by an operator, or because the run was cancelled.
          if (codeOf(error) === 404) return;
          onError(run.id, error);
        }
        await sleep(pollMs, undefined, { signal }).catch(() => {});
      }
    },
  };
}

const codeOf = (error: unknown): number | undefined =>
  error instanceof ApiException ? error.code : undefined;

async function create(api: BatchV1Api, run: Run, options: JobOptions): Promise<void> {
  try {
    await api.createNamespacedJob({ namespace: options.namespace, body: jobOf(run, options) });
  } catch (cause) {
    // Created before this process was started.
    if (codeOf(cause) === 409) return;
    const status = cause instanceof ApiException ? ` (HTTP ${cause.code})` : '';
    const message = `the API server refused the Job of ${run.id}${status}`;
    throw new DomainError('UNAVAILABLE', 'JOB_REFUSED', message, { cause });
  }
}

async function remove(api: BatchV1Api, job: { name: string; namespace: string }): Promise<void> {
  await api.deleteNamespacedJob({ ...job, propagationPolicy: 'Foreground' });
}
