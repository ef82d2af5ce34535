import { releaseMethods } from '../../lib/rpc/release-methods.ts';
import { bind } from '../../lib/rpc/server.ts';
import { reportService } from '../../lib/rpc/services.ts';
import { startWatchedServer, tlsOf } from '../../lib/service/watched-server.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import { createAuthenticate } from './auth.ts';
import { Catalogue } from './catalogue.ts';
import type { GatewayConfig } from './config.ts';
import { Gateway, type GatewayParts } from './gateway.ts';
import { type ModelChannels, openModelChannels } from './model-channels.ts';
import { rpcModelServices } from './model-services.ts';
import { Permits } from './permits.ts';
import { Quota } from './quota.ts';
import { releaseUse } from './release-states.ts';
import { GatewayRetries } from './retries.ts';
import type { Route } from './route.ts';
import { reportImplementation } from './service.ts';
import { Shadow } from './shadow.ts';

export interface RunningGateway {
  readonly port: number;
  readonly metricsPort: number;
  /** Refuses new calls after the drain delay, waits for those in flight, then frees everything. */
  close(): Promise<void>;
}

/**
 * Wires the gateway and listens. It is ready once a channel points to a release and each model service
 * has reported that it is ready.
 */
export async function start(config: GatewayConfig, telemetry: Telemetry): Promise<RunningGateway> {
  const { timeoutMs } = config;
  const store = openStore(config.store);
  const models = openModelChannels(config, { telemetry, tls: tlsOf(config), timeoutMs });
  const ending = new AbortController();
  let modelsReady = false;
  let ready = (): void => {};
  const catalogue = watchStore(store, config, telemetry, () => ready());
  const shadow = new Shadow({
    share: config.shadowShare,
    maxInFlight: config.shadowLimit,
    onComparison: (result) => telemetry.metrics.shadowComparisons.inc({ result }),
  });
  const gateway = createGateway(config, { telemetry, catalogue, shadow, store, models });
  const services = [bind(reportService, reportImplementation(gateway))];
  const { server, metrics } = await startWatchedServer(config, telemetry, services);
  ready = () => {
    if (!ending.signal.aborted) server.setReady(modelsReady && catalogue.routes().length > 0);
  };
  await catalogue.watch(config.storePollMs);
  void models.ready(ending.signal).then((value) => {
    modelsReady = value;
    return ready();
  });
  return {
    port: server.port,
    metricsPort: metrics.port,
    close: async () => {
      ending.abort();
      await server.close();
      catalogue.stop();
      await shadow.settle();
      models.close();
      store.close();
      await metrics.close();
    },
  };
}

interface Wiring extends Pick<GatewayParts, 'telemetry' | 'catalogue' | 'shadow'> {
  readonly store: ReleaseStore;
  readonly models: ModelChannels;
}

function createGateway(
  config: GatewayConfig,
  { telemetry, catalogue, shadow, store, models }: Wiring,
): Gateway {
  const { channels, shadowChannel, timeoutMs } = config;
  const retries = new GatewayRetries();
  return new Gateway({
    telemetry,
    catalogue,
    channels,
    releases: releaseMethods(store, async () => (manifest) => releaseUse(catalogue, manifest)),
    permits: new Permits({ maxRequests: config.queueLimit, maxBytes: config.queueBytes }),
    quota: new Quota({ perSecond: config.quotaPerMinute / 60, burst: config.quotaBurst }),
    authenticate: createAuthenticate({
      tokensFile: config.authTokensFile,
      jwks: config.authJwks,
      issuer: config.authIssuer,
      audience: config.authAudience,
    }),
    shadow,
    shadowChannel,
    timeoutMs,
    services: rpcModelServices(models.clients, retries),
    retries,
  });
}

/** Reads the served channels and the shadow channel from the store. */
function watchStore(
  store: ReleaseStore,
  { channels, shadowChannel }: GatewayConfig,
  { logger, metrics }: Telemetry,
  onRoutes: () => void,
): Catalogue {
  const reader = {
    channel: (name: string) => store.channels.find(name),
    manifest: (release: string) => store.manifest(release),
  };
  return new Catalogue(reader, {
    channels: [...new Set([...channels, ...(shadowChannel === undefined ? [] : [shadowChannel])])],
    onChange: (routes: readonly Route[]) => {
      metrics.releaseInfo.reset();
      for (const { release, variant, channel, weight } of routes) {
        metrics.releaseInfo.set({ release, variant, channel }, 1);
        logger.info({ release, variant, channel, weight }, 'channel');
      }
      onRoutes();
    },
    onError: (error) => logger.warn({ err: error }, 'the release store cannot be read'),
  });
}
