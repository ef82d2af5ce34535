import type { ExecutionContext } from 'ava';
import { DomainError, invalidArgument } from '../../lib/errors.ts';
import { openChannel } from '../../lib/rpc/channel.ts';
import { type Call, bind, startServer } from '../../lib/rpc/server.ts';
import {
  generatorService,
  labelerService,
  reportService,
  visionService,
} from '../../lib/rpc/services.ts';
import { readConfig } from '../../lib/service/settings.ts';
import { createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { type Observation, observations } from '../../lib/text/labels/observations.ts';
import { settings } from '../../services/gateway/config.ts';
import { start } from '../../services/gateway/server.ts';
import { patienceMs } from './waiting.ts';

/** What the model services of a test do, and the calls that they received. */
export interface FakeStages {
  /** Releases that each service holds. */
  readonly held: Record<'vision' | 'labeler' | 'generator', Set<string>>;
  readonly calls: { readonly service: string; readonly release: string; readonly call: Call }[];
  /** Before the answer of each call. */
  before: (service: string, release: string, call: Call) => Promise<void>;
  /** The label that a release finds in every image. */
  positive: (release: string) => Observation;
  /** Before each word of a report, by its index. */
  beforeWord: (index: number, call: Call) => Promise<void>;
  readonly addresses: Record<'vision' | 'labeler' | 'generator', string>;
}

const words = ['FINDINGS:', 'The', 'heart', 'is', 'large.', 'IMPRESSION:', 'Cardiomegaly.'];

const telemetryOf = (service: string) => createTelemetry({ service, logLevel: 'silent' });

const local = { host: '127.0.0.1', port: 0 } as const;

/** Model services without models: images are any bytes but `bad`, reports have seven words. */
export async function startStages(t: ExecutionContext, releases: readonly string[]) {
  const fake: FakeStages = {
    held: { vision: new Set(releases), labeler: new Set(releases), generator: new Set(releases) },
    calls: [],
    before: () => Promise.resolve(),
    positive: () => 'Cardiomegaly',
    beforeWord: () => Promise.resolve(),
    addresses: { vision: '', labeler: '', generator: '' },
  };
  const enter = async (
    service: 'vision' | 'labeler' | 'generator',
    release: string,
    call: Call,
  ) => {
    fake.calls.push({ service, release, call });
    await fake.before(service, release, call);
    if (fake.held[service].has(release)) return;
    const message = `release ${release} is not held`;
    throw new DomainError('FAILED_PRECONDITION', 'RELEASE_NOT_HELD', message);
  };
  const tensor = { dtype: 'DATA_TYPE_FLOAT16', shape: [2, 1], data: new Uint8Array(4) } as const;
  const services = {
    vision: bind(visionService, {
      embed: async ({ release, image }, call) => {
        await enter('vision', release, call);
        if (image.toString() === 'bad') {
          throw invalidArgument(
            'IMAGE_FORMAT_UNSUPPORTED',
            'image',
            '3 bytes of an unknown format',
          );
        }
        const info = { format: 'png', width: 8, height: 8, encodedBytes: image.length };
        const timings = [{ stage: 'inference', startMs: 0, durationMs: 0.1 }];
        return { release, tokens: tensor, pooled: tensor, image: info, timings };
      },
    }),
    labeler: bind(labelerService, {
      classify: async ({ release }, call) => {
        await enter('labeler', release, call);
        const labels = observations.map((name) => {
          const probability = name === fake.positive(release) ? 0.9 : 0.1;
          const state = probability > 0.37 ? 'LABEL_STATE_POSITIVE' : 'LABEL_STATE_NEGATIVE';
          return { name, probability, threshold: 0.37, state } as const;
        });
        return { release, labels };
      },
    }),
    generator: bind(generatorService, {
      async *generate({ release, stream, text }, call) {
        await enter('generator', release, call);
        if (stream) yield { release, accepted: {} };
        for (const [index, word] of words.entries()) {
          await fake.beforeWord(index, call);
          call.signal.throwIfAborted();
          const text = `${index > 0 ? ' ' : ''}${word}`;
          if (stream) yield { release, delta: { text, tokens: index + 1 } };
        }
        yield {
          release,
          result: {
            text: words.join(' '),
            finishReason: 'FINISH_REASON_END' as const,
            generatedTokens: words.length,
            textTokens: text.length,
          },
        };
      },
    }),
  };
  for (const [name, binding] of Object.entries(services)) {
    const server = await startServer({
      ...local,
      telemetry: telemetryOf(name),
      services: [binding],
    });
    server.setReady(true);
    fake.addresses[name as keyof typeof services] = `127.0.0.1:${server.port}`;
    t.teardown(() => server.close());
  }
  return fake;
}

/** A gateway of those services, and a client of it. The names in `env` have no prefix. */
export async function startGateway(
  t: ExecutionContext,
  { addresses }: Pick<FakeStages, 'addresses'>,
  env: Readonly<Record<string, string>>,
) {
  const given = {
    PORT: '0',
    METRICS_PORT: '0',
    STORE_POLL_MS: '20',
    VISION_ADDRESS: addresses.vision,
    LABELER_ADDRESS: addresses.labeler,
    GENERATOR_ADDRESS: addresses.generator,
    ...env,
  };
  const prefixed = Object.entries(given).map(([name, value]) => [`RADSCRIBE_${name}`, value]);
  const config = readConfig(settings, Object.fromEntries(prefixed));
  const telemetry = telemetryOf('gateway');
  const gateway = await start(config, telemetry);
  t.teardown(() => gateway.close());
  const channel = openChannel(`127.0.0.1:${gateway.port}`, {
    telemetry: telemetryOf('client'),
    retries: false,
    timeoutMs: patienceMs,
  });
  t.teardown(() => channel.close());
  const metric = async (line: string): Promise<string> => {
    const lines = (await telemetry.metrics.registry.metrics()).split('\n');
    return lines.find((found) => found.startsWith(line))?.split(' ')[1] ?? '';
  };
  return { gateway, client: channel.client(reportService), telemetry, metric };
}
