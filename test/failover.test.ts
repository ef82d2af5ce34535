import './support/dns-resolver.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { openChannel } from '../lib/rpc/channel.ts';
import type { GenerateReportResponse } from '../lib/rpc/messages.ts';
import { reportService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { Child } from '../cli/start/child.ts';
import { type ServiceName, serviceNames } from '../cli/start/cluster.ts';
import {
  addresses,
  Cleanup,
  makeStore,
  pictureFiles,
  startChain,
  testEnv,
} from './support/cluster.ts';
import { startDns } from './support/dns.ts';
import { answers, startLoad } from './support/load.ts';
import { hasSecondLoopback } from './support/ports.ts';
import { isUp, patienceMs, until } from './support/waiting.ts';

/** Each service has a replica at each address, on the same port. */
const hosts = ['127.0.0.1', '127.0.0.2'] as const;
const cleanup = new Cleanup();
const replicas: { service: ServiceName; host: string; child: Child }[] = [];
let chain: Awaited<ReturnType<typeof startChain>>;
let report: (stream: boolean) => Promise<GenerateReportResponse>;

const replicaOf = (service: ServiceName, host: string) =>
  replicas.find((replica) => replica.service === service && replica.host === host)!.child;

const ready = (service: ServiceName, host: string): Promise<void> =>
  until(() => isUp(`http://${host}:${chain.ports[service].metrics}/readyz`), `${service} is ready`);

const withReplicas = (await hasSecondLoopback()) ? test.serial : test.serial.skip;

test.before(async (t) => {
  if (withReplicas === test.serial.skip) {
    t.log('skipped: this system has no address 127.0.0.2');
    return;
  }
  const store = await makeStore(cleanup, ['vit-label']);
  const images = [{ data: (await pictureFiles()).png }];
  const teardown = (step: () => unknown): void => cleanup.add(step);
  const dns = await startDns({ teardown } as ExecutionContext, 'replicas.test', [...hosts]);
  const addressOf = (port: number): string => `dns://127.0.0.1:${dns.port}/replicas.test:${port}`;
  const env = { RADSCRIBE_STORE: store.url, GRPC_NODE_USE_ALTERNATIVE_RESOLVER: 'true' };
  chain = await startChain(cleanup, env, { addressOf });
  for (const service of serviceNames) {
    const { grpc, metrics } = chain.ports[service];
    const child = new Child({
      name: service,
      env: {
        ...testEnv,
        ...addresses(chain.ports, addressOf),
        ...env,
        RADSCRIBE_HOST: hosts[1],
        RADSCRIBE_PORT: `${grpc}`,
        RADSCRIBE_METRICS_PORT: `${metrics}`,
      },
    });
    cleanup.add(() => child.stop());
    replicas.push({ service, host: hosts[0], child: chain.cluster.child(service) });
    replicas.push({ service, host: hosts[1], child });
  }
  await Promise.all(replicas.map(({ service, host }) => ready(service, host)));
  const telemetry = createTelemetry({ service: 'client', logLevel: 'silent' });
  const channel = openChannel(addressOf(chain.ports.gateway.grpc), {
    telemetry,
    timeoutMs: patienceMs,
  });
  cleanup.add(() => channel.close());
  const client = channel.client(reportService);
  report = async (stream) => {
    if (!stream) return client.generateReport({ images });
    let last: GenerateReportResponse | undefined;
    for await (const { report } of client.streamReport({ images })) last = report;
    return last!;
  };
});
test.after.always(() => cleanup.run());

for (const service of serviceNames) {
  withReplicas(`kill -9 of one of two replicas of ${service} fails no unary call`, async (t) => {
    const load = startLoad(2, () => report(false));
    await answers(load, 10);
    process.kill(replicaOf(service, hosts[0]).pid!, 'SIGKILL');
    await answers(load, 15);
    await ready(service, hosts[0]);
    await answers(load, 10);
    await load.stop();
    t.log(`${load.responses.length} answered`);
    t.deepEqual(load.failures, []);
    const [first, ...others] = load.responses.map(({ report }) => JSON.stringify(report));
    t.true(
      others.every((other) => other === first),
      'and all answers are alike',
    );
  });
}

withReplicas(
  'streams survive the death of the replica of a model service that served them',
  async (t) => {
    const load = startLoad(2, () => report(true));
    await answers(load, 10);
    for (const service of ['generator', 'vision'] as const) {
      process.kill(replicaOf(service, hosts[1]).pid!, 'SIGKILL');
      await answers(load, 10);
      await ready(service, hosts[1]);
    }
    await load.stop();
    t.deepEqual(load.failures, []);
  },
);

withReplicas(
  'a rolling restart, one replica of every service at a time, fails no call',
  async (t) => {
    const load = startLoad(2, () => report(false));
    await answers(load, 10);
    for (const host of hosts) {
      const half = replicas.filter((replica) => replica.host === host);
      await Promise.all(
        half.map(async ({ service, child }) => {
          const { pid } = child;
          process.kill(pid!, 'SIGTERM');
          await until(() => child.pid !== pid && child.pid !== undefined, 'a restart');
          await ready(service, host);
        }),
      );
      await answers(load, 10);
      // A rollout waits too: longer than the longest pause before a lost connection is retried (5 s).
      await sleep(6000);
    }
    await load.stop();
    t.log(`${load.responses.length} answered while ${replicas.length} processes were restarted`);
    t.deepEqual(load.failures, []);
  },
);
