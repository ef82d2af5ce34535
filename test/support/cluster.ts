import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import type { VariantName } from '../../lib/models/variants.ts';
import { openChannel } from '../../lib/rpc/channel.ts';
import { reportService } from '../../lib/rpc/services.ts';
import { createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import { Cluster, type ServiceName, serviceNames } from '../../cli/start/cluster.ts';
import { attributes } from '../fixtures/image/pixels.ts';
import { dicomFile } from '../fixtures/image/dicom-file.ts';
import { freePorts } from './ports.ts';
import { writeRandomRelease } from './release.ts';
import { getPage, patienceMs } from './waiting.ts';

/** Runs what is to be undone, last first. */
export class Cleanup {
  readonly #steps: (() => unknown)[] = [];

  add(step: () => unknown): void {
    this.#steps.unshift(step);
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0)) await step();
  }
}

/** A store with a channel for each variant, by its name, and `stable` for the first. */
export async function makeStore(cleanup: Cleanup, variants: readonly VariantName[]) {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-chain-'));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  const store = openStore(join(folder, 'store'));
  /** Publishes a release of random weights; other seeds, other reports. */
  const publish = async (variant: VariantName, seed: number, maxTokens = 12): Promise<string> => {
    const place = join(folder, `${variant}-${seed}-${maxTokens}`);
    await writeRandomRelease(place, variant, {
      seed,
      decoding: { maxTokens, minTokens: maxTokens },
    });
    return (await store.publish(place)).id;
  };
  const ids = new Map<VariantName, string>();
  for (const variant of variants) {
    const id = await publish(variant, 1);
    ids.set(variant, id);
    await store.promote(variant, id);
  }
  await store.promote('stable', ids.get(variants[0]!)!);
  return { url: join(folder, 'store'), store, ids, publish };
}

/** What every service of a test is started with. */
export const testEnv = {
  PATH: process.env['PATH'],
  RADSCRIBE_LOG_LEVEL: 'warn',
  RADSCRIBE_STORE_POLL_MS: '50',
  RADSCRIBE_GRACE_MS: '5000',
  RADSCRIBE_THREADS: '1',
} as const;

interface ChainOptions {
  readonly onDeath?: (service: ServiceName) => void;
  /** Where the gateway finds a model service, by its port; default: this machine. */
  readonly addressOf?: (port: number) => string;
}

/** The whole chain as processes; `env` by the names of the variables, of every service. */
export async function startChain(
  cleanup: Cleanup,
  env: Readonly<Record<string, string>>,
  options: ChainOptions = {},
) {
  for (;;) {
    const started = await tryChain(env, options);
    const { cluster, ports } = started;
    try {
      await cluster.ready(patienceMs);
    } catch (error) {
      await cluster.stop();
      // Another process was faster to take one of the ports.
      if (String(error).includes('is in use')) continue;
      throw error;
    }
    cleanup.add(() => cluster.stop());
    return { ...started, ...connect(cleanup, ports.gateway.grpc) };
  }
}

async function tryChain(
  env: Readonly<Record<string, string>>,
  { onDeath = () => {}, addressOf }: ChainOptions,
) {
  const free = await freePorts(2 * serviceNames.length);
  const ports = Object.fromEntries(
    serviceNames.map((name, index) => [
      name,
      { grpc: free[2 * index]!, metrics: free[2 * index + 1]! },
    ]),
  ) as Cluster['ports'];
  const lines: string[] = [];
  const cluster = new Cluster({
    host: '127.0.0.1',
    ports,
    env: { ...testEnv, ...(addressOf && addresses(ports, addressOf)), ...env },
    onLine: (service, line) => lines.push(`${service}: ${line}`),
    onDeath,
  });
  return { cluster, ports, lines };
}

/** The settings by which a gateway finds the model services. */
export const addresses = (ports: Cluster['ports'], addressOf: (port: number) => string) => ({
  RADSCRIBE_VISION_ADDRESS: addressOf(ports.vision.grpc),
  RADSCRIBE_LABELER_ADDRESS: addressOf(ports.labeler.grpc),
  RADSCRIBE_GENERATOR_ADDRESS: addressOf(ports.generator.grpc),
});

/** A client that does not repeat what failed. */
export function connect(cleanup: Cleanup, port: number) {
  const telemetry = createTelemetry({ service: 'client', logLevel: 'silent' });
  const channel = openChannel(`127.0.0.1:${port}`, {
    telemetry,
    retries: false,
    timeoutMs: patienceMs,
  });
  cleanup.add(() => channel.close());
  return { client: channel.client(reportService) };
}

/** A value of a metrics page; the sum where several lines begin so. */
export async function readMetric(port: number, start: string): Promise<number> {
  const page = await (await getPage(`http://127.0.0.1:${port}/metrics`)).text();
  return page
    .split('\n')
    .filter((line) => line.startsWith(start))
    .map((line) => Number(/[}\w] ([\d.e+-]+)/.exec(line)?.[1]))
    .reduce((sum, value) => sum + value, 0);
}

export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly service: string;
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
}

interface Exported {
  readonly resourceSpans: readonly {
    readonly resource: {
      readonly attributes: readonly {
        readonly key: string;
        readonly value: { readonly stringValue?: string };
      }[];
    };
    readonly scopeSpans: readonly { readonly spans: readonly Omit<Span, 'service'>[] }[];
  }[];
}

/** Takes spans as a collector does, OTLP over HTTP. */
export async function startCollector(cleanup: Cleanup) {
  const spans: Span[] = [];
  const server = createHttpServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { resourceSpans } = JSON.parse(Buffer.concat(parts).toString()) as Exported;
      for (const { resource, scopeSpans } of resourceSpans) {
        const named = resource.attributes.find(({ key }) => key === 'service.name');
        const service = named?.value.stringValue ?? '';
        for (const scope of scopeSpans) {
          for (const span of scope.spans) spans.push(Object.assign({ service }, span));
        }
      }
      response.end('{}');
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  cleanup.add(() => {
    server.close();
    server.closeAllConnections();
  });
  return { spans, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** The same grey picture as PNG and as DICOM; `seed` makes it another. */
export async function pictureFiles(seed = 1, side = 160) {
  const pixels = Uint8Array.from({ length: side * side }, (_, index) => {
    const [x, y] = [index % side, Math.floor(index / side)];
    return Math.round(120 + 60 * Math.sin((x * seed) / 17) + 50 * Math.cos(y / (9 + seed)));
  });
  const raw = { width: side, height: side, channels: 1 } as const;
  const png = await sharp(pixels, { raw }).toColourspace('b-w').png().toBuffer();
  const size = { '00280010 US': [side], '00280011 US': [side] };
  const dicom = dicomFile({ ...attributes(8), ...size, '7fe00010 OW': pixels });
  return { png, dicom };
}
