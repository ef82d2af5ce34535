import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ReadableSpan, InMemorySpanExporter } from '@opentelemetry/sdk-trace';
import type { ExecutionContext } from 'ava';
import type { ServiceDefinition } from 'nice-grpc';
import { type Config, type Settings, readConfig } from '../../lib/service/settings.ts';
import type { VariantName } from '../../lib/models/variants.ts';
import { openChannel } from '../../lib/rpc/channel.ts';
import type { RunningService } from '../../lib/service/model-server.ts';
import { type Telemetry, createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import { writeRandomRelease } from './release.ts';
import { getPage, patienceMs, until } from './waiting.ts';

export { until };

/** A store in a folder of its own, and releases of random weights in it. */
export async function openTestStore(t: ExecutionContext<unknown>) {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-serving-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const store = openStore(join(folder, 'store'));
  /** Publishes a release; the same seed gives the same. */
  const publish = async (variant: VariantName, seed = 1): Promise<string> => {
    const made = join(folder, `release-${variant}-${seed}`);
    await writeRandomRelease(made, variant, { seed });
    return (await store.publish(made)).id;
  };
  return { store, folder: join(folder, 'store'), publish };
}

/** Watches without a word. */
export function testTelemetry(service: string) {
  const exporter = new InMemorySpanExporter();
  const telemetry = createTelemetry({ service, exporter, logLevel: 'silent' });
  return { telemetry, spans: (): readonly ReadableSpan[] => exporter.getFinishedSpans() };
}

/** Starts a service on free ports; what it is set by beyond that, by the names of its variables. */
export async function startService<Table extends Settings>(
  t: ExecutionContext<unknown>,
  start: (config: Config<Table>, telemetry: Telemetry) => Promise<RunningService>,
  settings: Table,
  env: Readonly<Record<string, string>>,
) {
  const { telemetry, spans } = testTelemetry('service');
  const config = readConfig(settings, {
    RADSCRIBE_PORT: '0',
    RADSCRIBE_METRICS_PORT: '0',
    RADSCRIBE_THREADS: '1',
    RADSCRIBE_STORE_POLL_MS: '20',
    // Longer than a request is on its way to a service, on a busy machine too.
    RADSCRIBE_RELEASE_LINGER_MS: '1000',
    RADSCRIBE_GRACE_MS: '3000',
    ...env,
  });
  const service = await start(config, telemetry);
  t.teardown(() => service.close());
  const isReady = async (): Promise<boolean> =>
    (await getPage(`http://127.0.0.1:${service.metricsPort}/readyz`)).ok;
  return { ...service, telemetry, spans, isReady, ready: () => until(isReady) };
}

export function connect<Definition extends ServiceDefinition>(
  t: ExecutionContext<unknown>,
  port: number,
  definition: Definition,
) {
  const { telemetry } = testTelemetry('client');
  const channel = openChannel(`127.0.0.1:${port}`, { telemetry, timeoutMs: patienceMs });
  t.teardown(() => channel.close());
  return channel.client(definition);
}

/** The value of a metric with these labels, 0 where it was not observed. */
export async function metricOf(
  { metrics: { registry } }: Telemetry,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const all = await registry.getMetricsAsJSON();
  const values = all.flatMap(({ name: family, values }) =>
    values.map((value) => ({ name: family, ...value }) as unknown as Sample),
  );
  const found = values.filter(
    (sample) =>
      (sample.metricName ?? sample.name) === name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  return found.reduce((sum, { value }) => sum + value, 0);
}

interface Sample {
  readonly name: string;
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
