import './support/dns-resolver.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { openChannel } from '../lib/rpc/channel.ts';
import { bind, startServer } from '../lib/rpc/server.ts';
import { labelerService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { settings as gatewaySettings } from '../services/gateway/config.ts';
import { start as startGateway } from '../services/gateway/server.ts';
import { settings as generatorSettings } from '../services/generator/config.ts';
import { start as startGenerator } from '../services/generator/server.ts';
import { settings as labelerSettings } from '../services/labeler/config.ts';
import { start as startLabeler } from '../services/labeler/server.ts';
import { settings as visionSettings } from '../services/vision/config.ts';
import { start as startVision } from '../services/vision/server.ts';
import { Cleanup, connect as connectApp, makeStore, pictureFiles } from './support/cluster.ts';
import { startDns } from './support/dns.ts';
import { hasSecondLoopback } from './support/ports.ts';
import { startService } from './support/services.ts';
import { isUp, patienceMs, until } from './support/waiting.ts';

const maxConnectionAgeMs = 1500;
const telemetryOf = (service: string) => createTelemetry({ service, logLevel: 'silent' });

/** A replica at an address of its own, on the port that all replicas share. */
async function startReplica(t: ExecutionContext, host: string, port: number) {
  let calls = 0;
  const server = await startServer({
    host,
    port,
    telemetry: telemetryOf('labeler'),
    services: [
      bind(labelerService, {
        classify: async ({ release }) => {
          calls += 1;
          await sleep(5);
          return { release };
        },
      }),
    ],
    maxConnectionAgeMs,
    // Longer than a busy caller takes to notice that it leaves, and to have its answers.
    drainDelayMs: 3000,
    graceMs: patienceMs,
  });
  server.setReady(true);
  t.teardown(() => server.close());
  return { server, calls: () => calls };
}

/** A channel to `labeler.test`, a name that the DNS server gives the addresses of. */
async function connect(t: ExecutionContext, addresses: string[], port: number) {
  const dns = await startDns(t, 'labeler.test', addresses);
  const channel = openChannel(`dns://127.0.0.1:${dns.port}/labeler.test:${port}`, {
    telemetry: telemetryOf('gateway'),
    timeoutMs: patienceMs,
  });
  t.teardown(() => channel.close());
  return channel.client(labelerService);
}

/** Other systems than Linux have one loopback address. */
const withReplicas = (await hasSecondLoopback()) ? test.serial : test.serial.skip;

withReplicas('two replicas behind one name share the load within 10 %', async (t) => {
  const first = await startReplica(t, '127.0.0.1', 0);
  const { port } = first.server;
  const second = await startReplica(t, '127.0.0.2', port);
  const client = await connect(t, ['127.0.0.1', '127.0.0.2'], port);
  // Both connections are there once both have answered.
  while (first.calls() === 0 || second.calls() === 0) await client.classify({});
  const before = [first.calls(), second.calls()] as const;
  for (let round = 0; round < 40; round += 1)
    await Promise.all(Array.from({ length: 10 }, () => client.classify({})));
  const shares = [first.calls() - before[0], second.calls() - before[1]];
  t.is(shares[0]! + shares[1]!, 400);
  for (const share of shares) t.true(Math.abs(share - 200) <= 20, `${shares.join(' and ')} calls`);
});

withReplicas(
  'a new replica is called once a connection has ended by its age, and one that leaves loses no call',
  async (t) => {
    const first = await startReplica(t, '127.0.0.1', 0);
    const { port } = first.server;
    const addresses = ['127.0.0.1'];
    const client = await connect(t, addresses, port);
    const end = new AbortController();
    t.teardown(() => end.abort());
    let answered = 0;
    const failed: unknown[] = [];
    const load = async () => {
      while (!end.signal.aborted) {
        await client.classify({}).then(
          () => (answered += 1),
          (error: unknown) => failed.push(error),
        );
        await sleep(2);
      }
    };
    const callers = Array.from({ length: 4 }, load);
    await until(() => first.calls() > 0, 'a first call');

    const second = await startReplica(t, '127.0.0.2', port);
    addresses.push('127.0.0.2');
    // The connection ends by its age, and the name is then looked up again.
    await until(() => second.calls() > 0, 'a call of the new replica');

    // As Kubernetes takes a pod away: out of the name and SIGTERM at the same time.
    addresses.shift();
    const closing = first.server.close();
    await closing;
    const then = second.calls();
    await until(() => second.calls() > then, 'a call after the other has left');
    end.abort();
    await Promise.all(callers);
    t.deepEqual(failed, []);
    t.is(first.calls() + second.calls(), answered);
  },
);

/** Calls of one kind that a replica answered. */
async function answeredBy(metrics: ReturnType<typeof telemetryOf>['metrics'], method: string) {
  const page = await metrics.registry.metrics();
  const line = page
    .split('\n')
    .find(
      (text) =>
        text.startsWith('rpc_server_call_duration_seconds_count') && text.includes(`"${method}"`),
    );
  return Number(line?.split('} ')[1]?.split(' ')[0] ?? 0);
}

withReplicas(
  'the gateway spreads reports over two replicas of each model service within 10 %',
  async (t) => {
    const cleanup = new Cleanup();
    t.teardown(() => cleanup.run());
    const { url } = await makeStore(cleanup, ['vit-label']);
    const env = { RADSCRIBE_STORE: url, RADSCRIBE_CHANNELS: 'stable' };
    const stages = {
      Embed: (host: string, port: string) =>
        startService(t, startVision, visionSettings, {
          ...env,
          RADSCRIBE_HOST: host,
          RADSCRIBE_PORT: port,
        }),
      Classify: (host: string, port: string) =>
        startService(t, startLabeler, labelerSettings, {
          ...env,
          RADSCRIBE_HOST: host,
          RADSCRIBE_PORT: port,
        }),
      Generate: (host: string, port: string) =>
        startService(t, startGenerator, generatorSettings, {
          ...env,
          RADSCRIBE_HOST: host,
          RADSCRIBE_PORT: port,
        }),
    };
    const replicas = new Map<string, Awaited<ReturnType<typeof stages.Embed>>[]>();
    const addresses: string[] = [];
    for (const [method, start] of Object.entries(stages)) {
      const first = await start('127.0.0.1', '0');
      const second = await start('127.0.0.2', `${first.port}`);
      replicas.set(method, [first, second]);
      const dns = await startDns(t, 'stage.test', ['127.0.0.1', '127.0.0.2']);
      addresses.push(`dns://127.0.0.1:${dns.port}/stage.test:${first.port}`);
      await first.ready();
      await until(
        () => isUp(`http://127.0.0.2:${second.metricsPort}/readyz`),
        'the second replica',
      );
    }
    const [vision = '', labeler = '', generator = ''] = addresses;
    const gateway = await startService(t, startGateway, gatewaySettings, {
      ...env,
      RADSCRIBE_VISION_ADDRESS: vision,
      RADSCRIBE_LABELER_ADDRESS: labeler,
      RADSCRIBE_GENERATOR_ADDRESS: generator,
    });
    await gateway.ready();
    const { client } = connectApp(cleanup, gateway.port);
    const { png } = await pictureFiles();
    const request = { images: [{ data: png }], includeLabels: true };
    const counts = (method: string) =>
      Promise.all(
        (replicas.get(method) ?? []).map(({ telemetry }) => answeredBy(telemetry.metrics, method)),
      );
    // Both connections of each stage are there once both have answered.
    for (let round = 0; round < 50; round += 1) {
      await client.generateReport(request);
      const all = await Promise.all(Object.keys(stages).map(counts));
      if (all.flat().every((count) => count > 0)) break;
    }
    const before = new Map<string, readonly number[]>();
    for (const method of Object.keys(stages)) before.set(method, await counts(method));
    for (let round = 0; round < 20; round += 1)
      await Promise.all([client.generateReport(request), client.generateReport(request)]);
    for (const method of Object.keys(stages)) {
      const now = await counts(method);
      const shares = now.map((count, i) => count - (before.get(method)?.[i] ?? 0));
      t.is(shares[0]! + shares[1]!, 40, method);
      for (const share of shares)
        t.true(Math.abs(share - 20) <= 2, `${method}: ${shares.join(' and ')}`);
    }
  },
);
