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
import type { Executor } from './executor.ts';

export interface JobOptions {
  readonly image: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Kueue queue; empty for none. */
  readonly queue: string;
  readonly gpus: number;
  /** Volume claims, each CLAIM:FOLDER. */
  readonly claims: readonly string[];
  /** As the Job sees them. */
  readonly runs: string;
  readonly cache: string;
}

/** Pods of a Job that may fail, each going on from the last checkpoint, before the Job does. */
const backoffLimit = 6;
/** What a pod gets to write a checkpoint in. */
const graceSeconds = 120;
/** How long an ended Job stays, for its log. */
const keptSeconds = 24 * 3600;

export const jobName = ({ id }: Pick<Run, 'id'>): string => `radscribe-${id}`;

/** The Job that trains a run. Its pods hold no token and no right. */
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
  const { image, gpus, runs, cache } = options;
  const devices = gpus > 0 ? { 'nvidia.com/gpu': String(gpus) } : {};
  const command = ['cli/main.ts', 'train', '--resume', run.id];
  return {
    name: 'train',
    image,
    args: [...command, '--runs', runs, '--cache', cache],
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
  /** Whether somebody wants the run to end: its Job is then removed. */
  readonly isCancelled: (run: string) => boolean;
  /** A call to the API server that failed, and is made again. */
  readonly onError: (run: string, error: unknown) => void;
}

/** Where the pod stands, or what ~/.kube/config says. */
export function clusterConfig(): KubeConfig {
  const config = new KubeConfig();
  config.loadFromDefault();
  return config;
}

/** A Job a run, made and followed through the API server; it goes on when this process ends. */
export function kubernetesExecutor(options: KubernetesExecutorOptions): Executor {
  const { config, namespace, pollMs = 2000, onError } = options;
  const api = config.makeApiClient(BatchV1Api);
  const name = (run: Run) => ({ name: jobName(run), namespace });
  return {
    outlivesUs: true,
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
          // Removed by hand, or by a cancellation.
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
    // Made before this process was started.
    if (codeOf(cause) === 409) return;
    const said = cause instanceof ApiException ? `: ${cause.code}` : '';
    const message = `the API server did not take the Job of ${run.id}${said}`;
    throw new DomainError('UNAVAILABLE', 'JOB_REFUSED', message, { cause });
  }
}

async function remove(api: BatchV1Api, job: { name: string; namespace: string }): Promise<void> {
  await api.deleteNamespacedJob({ ...job, propagationPolicy: 'Foreground' });
}
