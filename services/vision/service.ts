import type { ServiceImplementation } from 'nice-grpc';
import type { View } from '../../lib/image/decoded.ts';
import type { View as ViewName } from '../../lib/rpc/messages.ts';
import type { DeadlineContext } from '../../lib/rpc/deadline.ts';
import { priorityOf } from '../../lib/rpc/priority.ts';
import type { visionService } from '../../lib/rpc/services.ts';
import { tensorMessage } from '../../lib/rpc/tensors.ts';
import type { ReleaseHolder } from '../../lib/releases/holder.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { StageTimer } from '../../lib/telemetry/stage-timer.ts';
import type { Embedder } from './embedder.ts';
import type { VisionModel } from './model.ts';

const views = {
  PA: 'VIEW_PA',
  AP: 'VIEW_AP',
  LATERAL: 'VIEW_LATERAL',
} as const satisfies Record<View, ViewName>;

/** radscribe.v1.VisionService. */
export const visionImplementation = (
  holder: ReleaseHolder<VisionModel>,
  embedder: Embedder,
  telemetry: Telemetry,
): ServiceImplementation<typeof visionService, DeadlineContext> => ({
  async embed({ release, image: bytes, priority }, { signal, deadline }) {
    using lease = holder.acquire(release);
    const { model, manifest } = lease;
    const timer = new StageTimer(telemetry, manifest.variant);
    const item = { model, bytes, priority: priorityOf(priority), signal, deadline };
    const embedded = await embedder.embed(item, timer);
    const { tokens, tokensShape, pooled, outOfDistribution, image } = embedded;
    return {
      release: manifest.id,
      tokens: tensorMessage(tokensShape, tokens),
      pooled: tensorMessage([pooled.length], pooled),
      image: {
        format: image.format,
        width: image.width,
        height: image.height,
        bitsStored: image.bitsStored,
        view: image.view === undefined ? 'VIEW_UNSPECIFIED' : views[image.view],
        encodedBytes: bytes.byteLength,
      },
      ...(outOfDistribution !== undefined && { outOfDistribution }),
      timings: timer.timings,
    };
  },
});
