import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Command } from 'commander';
import { registerEvaluate } from '../cli/commands/evaluate.ts';
import { registerPlan } from '../cli/commands/plan.ts';
import { registerTrain } from '../cli/commands/train.ts';
import { requestReports } from '../cli/report-client.ts';
import { Cluster, serviceNames } from '../cli/start/cluster.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { devices } from '../lib/plan/costs.ts';
import { plan } from '../lib/plan/sizing.ts';
import { serveMetrics } from '../lib/service/metrics-page.ts';
import { testEnv } from './support/cluster.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { folder } from './support/datasets.ts';
import { testErrors } from './support/errors.ts';
import { freePorts } from './support/ports.ts';

/** Runs a command of `radscribe` in this process. */
const radscribe = (register: (program: Command) => void, ...args: readonly string[]) => {
  const program = new Command('radscribe').exitOverride();
  register(program);
  return program.parseAsync(args, { from: 'user' });
};

const planned = (changes: { readonly rps?: number; readonly p99Ms?: number }): unknown =>
  plan(
    {
      rps: 3,
      variant: 'vit-label',
      preset: loadPreset('demo'),
      imageBytes: 1e6,
      tokens: { mean: 80, deviation: 24, most: 256 },
      p99Ms: 20_000,
      ...changes,
    },
    devices['l4']!,
  );

/** A cluster of processes; `env` decides whether they start. */
async function clusterOf(t: ExecutionContext, env: Readonly<Record<string, string>>) {
  const ports = await freePorts(2 * serviceNames.length);
  const cluster = new Cluster({
    host: '127.0.0.1',
    ports: Object.fromEntries(
      serviceNames.map((name, i) => [name, { grpc: ports[2 * i]!, metrics: ports[2 * i + 1]! }]),
    ) as Cluster['ports'],
    env: { ...testEnv, RADSCRIBE_STORE: join(await folder(t, {}), 'store'), ...env },
  });
  t.teardown(() => cluster.stop());
  return cluster;
}

testErrors(test, [
  {
    what: 'a plan for no request',
    reason: 'PLAN_INVALID',
    code: 'INVALID_ARGUMENT',
    field: '--rps',
    provoke: () => planned({ rps: 0 }),
  },
  {
    what: 'a plan for answers within a millisecond',
    reason: 'PLAN_UNREACHABLE',
    code: 'INVALID_ARGUMENT',
    field: '--p99',
    provoke: () => planned({ p99Ms: 1 }),
  },
  {
    what: 'a file of costs that is no JSON',
    reason: 'COSTS_INVALID',
    code: 'INVALID_ARGUMENT',
    field: /costs\.json$/,
    provoke: async (t) => {
      const costs = join(await folder(t, { 'costs.json': 'fast' }), 'costs.json');
      await radscribe(registerPlan, 'plan', '--rps', '3', '--costs', costs);
    },
  },
  {
    what: 'an evaluation of no release',
    reason: 'RELEASES_MISSING',
    code: 'INVALID_ARGUMENT',
    field: 'releases',
    provoke: async (t) =>
      radscribe(registerEvaluate, 'evaluate', '--store', join(await folder(t, {}), 'store')),
  },
  {
    what: 'training from a release without a store',
    reason: 'STORE_MISSING',
    code: 'INVALID_ARGUMENT',
    field: '--parent',
    provoke: () => radscribe(registerTrain, 'train', '--parent', 'stable', '--print-config'),
  },
  {
    what: 'a report where no gateway listens',
    reason: 'SERVER_UNREACHABLE',
    code: 'UNAVAILABLE',
    field: undefined,
    provoke: async (t) => {
      const root = await folder(t, { 'a.png': 'x' });
      const [port] = await freePorts(1);
      const options = { address: `127.0.0.1:${port}`, connection: {}, request: {} };
      await requestReports([[join(root, 'a.png')]], options, () => {});
    },
  },
  {
    what: 'a cluster that is not ready in time',
    reason: 'SERVICE_NOT_READY',
    code: 'DEADLINE_EXCEEDED',
    field: undefined,
    provoke: async (t) => (await clusterOf(t, {})).ready(0),
  },
  {
    what: 'a cluster whose services end at once',
    reason: 'SERVICE_LOST',
    code: 'UNAVAILABLE',
    field: undefined,
    provoke: async (t) => (await clusterOf(t, { RADSCRIBE_GRACE_MS: 'soon' })).ready(),
  },
  {
    what: 'a port that another server has',
    reason: 'PORT_UNAVAILABLE',
    code: 'FAILED_PRECONDITION',
    field: undefined,
    provoke: async (t) => {
      const other = createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => other.once('listening', resolve));
      t.teardown(() => other.close());
      const { port } = other.address() as AddressInfo;
      const { metrics } = createTelemetry({ service: 'test', logLevel: 'silent' });
      await serveMetrics({ host: '127.0.0.1', port, metrics, isReady: () => true });
    },
  },
]);
