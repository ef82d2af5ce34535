import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from './settings.ts';
import { type BackendOptions } from '../runtime/backend.ts';
import { type Model, ReleaseHolder } from '../releases/holder.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { openStore } from '../releases/store/open.ts';
import type { OpenedRelease, ReleasePart } from '../releases/store/store.ts';
import type { modelSettings } from './model-settings.ts';
import type { Binding } from '../rpc/server.ts';
import { startWatchedServer } from './watched-server.ts';

type ModelConfig = Config<ReturnType<typeof modelSettings>>;

export interface RunningService {
  readonly port: number;
  readonly metricsPort: number;
  /** Drains, waits for open calls, then frees everything. */
  close(): Promise<void>;
}

export interface ModelServerOptions<M extends Model> {
  readonly config: ModelConfig;
  readonly telemetry: Telemetry;
  readonly part: ReleasePart;
  readonly load: (release: OpenedRelease, backend: BackendOptions) => Promise<M>;
  readonly bind: (holder: ReleaseHolder<M>) => Binding;
  /** Closes the queues, once no more calls come. */
  readonly close: () => Promise<void>;
}

/**
 * Listens at once; ready once the releases of its channels are loaded and warm. Throws for a port that
 * is in use and for an invalid store address.
 */
export async function startModelServer<M extends Model>(
  options: ModelServerOptions<M>,
): Promise<RunningService> {
  const { config, telemetry } = options;
  const store = openStore(config.store, { cacheDir: config.cacheDir });
  let setReady = (): void => {};
  const holder = createHolder(options, store, () => setReady());
  const services = [options.bind(holder)];
  const { server, metrics } = await startWatchedServer(config, telemetry, services);
  let closing: Promise<void> | undefined;
  setReady = () => {
    if (closing === undefined && server.ready !== holder.ready) server.setReady(holder.ready);
  };
  holder.start();
  const close = async (): Promise<void> => {
    await server.close();
    await options.close();
    await holder.close();
    store.close();
    await metrics.close();
  };
  return {
    port: server.port,
    metricsPort: metrics.port,
    close: () => (closing ??= close()),
  };
}

function createHolder<M extends Model>(
  { config, telemetry, part, load }: ModelServerOptions<M>,
  store: ReturnType<typeof openStore>,
  onChange: () => void,
): ReleaseHolder<M> {
  const { logger, metrics, service } = telemetry;
  return new ReleaseHolder<M>({
    store,
    channels: config.channels,
    part,
    load: (release, throttled) => load(release, { ...backendOptions(config), throttled }),
    instance: `${service}-${hostname()}-${randomUUID().slice(0, 8)}`,
    pollMs: config.storePollMs,
    lingerMs: config.lingerMs,
    observer: {
      onChange: (held) => {
        metrics.releaseInfo.reset();
        for (const { release, variant, channels } of held) {
          for (const channel of channels) metrics.releaseInfo.set({ release, variant, channel }, 1);
        }
        onChange();
      },
      onLoaded: (release, durationMs) =>
        logger.info({ release, durationMs: Math.round(durationMs) }, 'release loaded'),
      onDropped: (release) => logger.info({ release }, 'release dropped'),
      onLoadFailed: (release, error) => {
        metrics.releaseLoadFailures.inc();
        logger.error(
          { release, err: error },
          'a release could not be loaded; the loaded ones still serve',
        );
      },
      onStoreError: (error) => logger.warn({ err: error }, 'the release store failed'),
    },
  });
}

/** A release's sessions run in a worker of its own. */
const backendOptions = ({ provider, threads }: ModelConfig): BackendOptions => ({
  provider,
  ...(threads > 0 && { intraOpThreads: threads }),
});
