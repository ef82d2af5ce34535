import type { ServiceImplementation } from 'nice-grpc';
import type { DeadlineContext } from '../../lib/rpc/deadline.ts';
import { priorityOf } from '../../lib/rpc/priority.ts';
import type { labelerService } from '../../lib/rpc/services.ts';
import { tensorOf } from '../../lib/rpc/tensors.ts';
import type { ReleaseHolder } from '../../lib/releases/holder.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { StageTimer } from '../../lib/telemetry/stage-timer.ts';
import { labelStream } from '../../lib/inference/labels.ts';
import type { Classifier } from './classifier.ts';
import type { LabelerModel } from './model.ts';

const states = { positive: 'LABEL_STATE_POSITIVE', negative: 'LABEL_STATE_NEGATIVE' } as const;

/** radscribe.v1.LabelerService. */
export const labelerImplementation = (
  holder: ReleaseHolder<LabelerModel>,
  classifier: Classifier,
  telemetry: Telemetry,
): ServiceImplementation<typeof labelerService, DeadlineContext> => ({
  async classify({ release, pooled: message, priority: urgency }, { signal, deadline }) {
    using lease = holder.acquire(release);
    const { model, manifest } = lease;
    const timer = new StageTimer(telemetry, manifest.variant);
    const { data: pooled } = tensorOf(message, 'pooled', [model.channels]);
    const place = { priority: priorityOf(urgency), signal, deadline };
    const labels = await classifier.classify({ model, pooled, timer }, place);
    return {
      release: manifest.id,
      labels: labels.map((label) => ({ ...label, state: states[label.state] })),
      labelText: labelStream(labels),
      timings: timer.timings,
    };
  },
});
