import type { BatchQueue, QueueObserver } from '../runtime/queue.ts';
import { type Metrics, readGauge } from './metrics.ts';

/** Counts those that a queue turns away, and, where `batches`, how many shared a run. */
export const queueObserver = (metrics: Metrics, { batches = false } = {}): QueueObserver => ({
  onReject: (reason) => metrics.rejected.inc({ reason }),
  ...(batches && { onBatch: (size: number) => metrics.batchSize.observe(size) }),
});

type Queue = Pick<BatchQueue<never, never>, 'depth' | 'bytes' | 'inFlight'>;

/** Shows what is admitted to a service, and how much of it waits in its lines. */
export function watchQueues(metrics: Metrics, admission: Queue, lines: readonly Queue[]): void {
  const waiting = (): number => lines.reduce((sum, { depth }) => sum + depth, 0);
  readGauge(metrics.queueDepth, waiting);
  readGauge(metrics.queueBytes, () => admission.bytes);
  readGauge(metrics.inFlight, () => admission.inFlight);
}
