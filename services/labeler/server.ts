import { type RunningService, startModelServer } from '../../lib/service/model-server.ts';
import { bind } from '../../lib/rpc/server.ts';
import { labelerService } from '../../lib/rpc/services.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { Classifier } from './classifier.ts';
import type { LabelerConfig } from './config.ts';
import { LabelerModel } from './model.ts';
import { labelerImplementation } from './service.ts';

/** Wires the labeler service and listens. */
export function start(config: LabelerConfig, telemetry: Telemetry): Promise<RunningService> {
  const classifier = new Classifier(config, telemetry);
  return startModelServer({
    config,
    telemetry,
    part: 'labeler',
    load: (release, backend) => LabelerModel.load(release, backend, config.maxBatch),
    bind: (holder) => bind(labelerService, labelerImplementation(holder, classifier, telemetry)),
    close: () => classifier.close(),
  });
}
