import { type RunningService, startModelServer } from '../../lib/service/model-server.ts';
import { bind } from '../../lib/rpc/server.ts';
import { visionService } from '../../lib/rpc/services.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { VisionConfig } from './config.ts';
import { Embedder } from './embedder.ts';
import { VisionModel } from './model.ts';
import { visionImplementation } from './service.ts';

/** Wires the vision service and listens. */
export function start(config: VisionConfig, telemetry: Telemetry): Promise<RunningService> {
  const embedder = new Embedder(config, telemetry);
  return startModelServer({
    config,
    telemetry,
    part: 'vision',
    load: (release, backend) => VisionModel.load(release, backend, config.maxBatch),
    bind: (holder) => bind(visionService, visionImplementation(holder, embedder, telemetry)),
    close: () => embedder.close(),
  });
}
