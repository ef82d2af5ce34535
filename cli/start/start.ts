import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { fileError } from '../../lib/data/files.ts';
import { DomainError } from '../../lib/errors.ts';
import { openChannel } from '../../lib/rpc/channel.ts';
import type { GenerateReportResponse } from '../../lib/rpc/messages.ts';
import { reportService } from '../../lib/rpc/services.ts';
import { portError } from '../../lib/rpc/port-error.ts';
import { createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import { Cluster, type ClusterOptions, serviceNames } from './cluster.ts';
import { printReport } from './print.ts';

export interface StartOptions {
  readonly host: string;
  /** gRPC port of the gateway; the other services use the next three. */
  readonly port: number;
  readonly metricsPort: number;
  /** A folder or a URL. */
  readonly store: string;
  readonly channels: readonly string[];
  /** File of the image that is sent at the start. */
  readonly image: string;
  readonly once: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly print: (text: string) => void;
  /** Stops the cluster, as Ctrl-C does. */
  readonly signal: AbortSignal;
}

/** Order of the ports: the gateway has the first. */
const portOrder = ['gateway', 'vision', 'labeler', 'generator'] as const;

/**
 * The whole cluster on this machine, with a first report to show that it works.
 *
 * @throws {DomainError} with one clear sentence for a missing image or release, a port in use, a
 *   service that does not start or that dies again and again.
 */
export async function startCluster(options: StartOptions): Promise<void> {
  const { store, channels, image, host, env, print, once, signal } = options;
  const encoded = await readFile(image).catch((error: unknown) => {
    throw fileError(error, image);
  });
  await checkRelease(store, channels);
  const ports = await freePorts(options);
  print(`starting ${serviceNames.join(', ')}\n`);
  const startMs = performance.now();
  const cluster = new Cluster({
    host,
    ports,
    env: {
      RADSCRIBE_LOG_LEVEL: 'warn',
      ...env,
      RADSCRIBE_STORE: store,
      RADSCRIBE_CHANNELS: channels.join(','),
    },
    onLine: (service, line) => print(`${service}: ${line}\n`),
    onDeath: (service, why) => print(`${service} died (${why}) and is started again\n`),
  });
  try {
    const stopped = untilAborted(signal);
    await Promise.race([cluster.ready(), stopped]);
    if (signal.aborted) return;
    print(`ready after ${((performance.now() - startMs) / 1000).toFixed(1)} s\n\n`);
    const report = askGateway(`${host}:${ports.gateway.grpc}`, encoded);
    const response = await Promise.race([report, cluster.lost, stopped]);
    if (response === undefined) return;
    print(`${image}\n\n${printReport(response)}\n`);
    if (once) return;
    print(whereNext(host, ports));
    await Promise.race([stopped, cluster.lost]);
  } finally {
    print('stopping\n');
    await cluster.stop();
  }
}

const untilAborted = (signal: AbortSignal): Promise<undefined> =>
  signal.aborted
    ? Promise.resolve(undefined)
    : new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined)));

/** Throws FAILED_PRECONDITION where no channel points to a release. */
async function checkRelease(url: string, channels: readonly string[]): Promise<void> {
  const store = openStore(url);
  try {
    for (const channel of channels) if (await store.channels.find(channel)) return;
    const message =
      `no release: the channels ${channels.join(', ')} of the store ${url} point to nothing; ` +
      'train one with `npm run radscribe -- train`, or give another --store';
    throw new DomainError('FAILED_PRECONDITION', 'NO_RELEASE', message);
  } finally {
    store.close();
  }
}

/** Throws FAILED_PRECONDITION for the first port that is in use. */
async function freePorts({
  host,
  port,
  metricsPort,
}: StartOptions): Promise<ClusterOptions['ports']> {
  const ports = portOrder.map((name, index) => {
    return [name, { grpc: port + index, metrics: metricsPort + index }] as const;
  });
  for (const [name, { grpc, metrics }] of ports) {
    for (const each of [grpc, metrics]) await checkFree(name, host, each);
  }
  return Object.fromEntries(ports) as ClusterOptions['ports'];
}

function checkFree(name: string, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (cause: NodeJS.ErrnoException) => {
      const { code, reason, message } = portError(host, port, cause);
      reject(new DomainError(code, reason, `${name}: ${message}`, { cause }));
    });
    probe.listen(port, host, () => probe.close(() => resolve()));
  });
}

async function askGateway(address: string, encoded: Uint8Array): Promise<GenerateReportResponse> {
  const telemetry = createTelemetry({ service: 'start', logLevel: 'silent' });
  const channel = openChannel(address, { telemetry });
  try {
    const client = channel.client(reportService);
    return await client.generateReport({ images: [{ data: encoded }], includeLabels: true });
  } finally {
    channel.close();
    await telemetry.close();
  }
}

function whereNext(host: string, ports: ClusterOptions['ports']): string {
  const { grpc, metrics } = ports.gateway;
  const address = `${host}:${grpc}`;
  return [
    'Serving. Where to go next, in another terminal:',
    '',
    `  npm run radscribe -- report IMAGE...${grpc === 50051 ? '' : ` --address ${address}`}`,
    `  node docs/clients/typescript/client.ts ${address} IMAGE`,
    `  grpcurl -plaintext ${address} list`,
    `  curl -s http://${host}:${metrics}/metrics`,
    '',
    'Not a medical device. Ctrl-C ends it.',
    '',
  ].join('\n');
}
