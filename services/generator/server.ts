import { type RunningService, startModelServer } from '../../lib/service/model-server.ts';
import { bind } from '../../lib/rpc/server.ts';
import { generatorService } from '../../lib/rpc/services.ts';
import type { GeneratorQueue, GeneratorRun } from '../../lib/runtime/decode/generator.ts';
import { RequestQueue } from '../../lib/runtime/request-queue.ts';
import { queueObserver } from '../../lib/telemetry/queue.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { GeneratorConfig } from './config.ts';
import { GeneratorModel } from './model.ts';
import { generatorImplementation } from './service.ts';
import { ReportWriter } from './writer.ts';

/** Wires the generator service and listens. */
export function start(config: GeneratorConfig, telemetry: Telemetry): Promise<RunningService> {
  const { metrics } = telemetry;
  const queue: GeneratorQueue = new RequestQueue(queueObserver(metrics));
  const writer = new ReportWriter(config, telemetry, queue);
  const observe = (variant: string, { kind, rows, durationMs }: GeneratorRun): void => {
    // The writer observes an encoder run, as a stage of its one request.
    if (kind === 'prefill') return;
    metrics.decodeSteps.inc();
    metrics.batchSize.observe(rows);
    metrics.stages.observe({ stage: 'step', variant }, durationMs / 1000);
  };
  return startModelServer({
    config,
    telemetry,
    part: 'generator',
    load: (release, backend) =>
      GeneratorModel.load(release, {
        backend,
        maxRows: config.maxBatch,
        queue,
        onRun: (run) => observe(release.manifest.variant, run),
      }),
    bind: (holder) => bind(generatorService, generatorImplementation(holder, writer, telemetry)),
    close: () => writer.close(),
  });
}
