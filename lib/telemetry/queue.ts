import type { Admission } from '../runtime/admission.ts';
import type { QueueObserver } from '../runtime/request-queue.ts';
import { type Metrics, readGauge } from './metrics.ts';

/** Counts the requests that a service rejects, and, where `batches`, how many share a run. */
export const queueObserver = (metrics: Metrics, { batches = false } = {}): QueueObserver => ({
  onReject: (reason) => metrics.rejected.inc({ reason }),
  ...(batches && { onBatch: (size: number) => metrics.batchSize.observe(size) }),
});

/** Shows what a service has admitted, and how much of it waits in its queues. */
export function watchQueues(
  metrics: Metrics,
  admission: Admission,
  queues: readonly { readonly depth: number }[],
): void {
  const waiting = (): number => queues.reduce((sum, { depth }) => sum + depth, 0);
  readGauge(metrics.queueDepth, waiting);
  readGauge(metrics.queueBytes, () => admission.bytes);
  // A release that warms up waits without having been admitted.
  readGauge(metrics.inFlight, () => Math.max(0, admission.requests - waiting()));
}
