import { openChannel } from '../../lib/rpc/channel.ts';
import { bind, startServer } from '../../lib/rpc/server.ts';
import {
  generatorService,
  labelerService,
  reportService,
  visionService,
} from '../../lib/rpc/services.ts';
import { serveMetrics } from '../../lib/telemetry/http.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { openStore } from '../../lib/weights/store/open.ts';
import type { ReleaseStore } from '../../lib/weights/store/store.ts';
import { createAuthenticate } from './auth.ts';
import { Catalogue } from './catalogue.ts';
import type { GatewayConfig } from './config.ts';
import { Gateway } from './gateway.ts';
import { Permits } from './permits.ts';
import { Quota } from './quota.ts';
import { ReleaseList } from './releases.ts';
import type { Route } from './route.ts';
import { reportImplementation } from './service.ts';
import { Shadow } from './shadow.ts';
import { type Callers, rpcStages } from './stages.ts';

export interface RunningGateway {
  readonly port: number;
  readonly metricsPort: number;
  /** Refuses new calls after the drain delay, lets those under way end, then frees everything. */
  close(): Promise<void>;
}

/** Wires the gateway and listens. It is ready once it knows a release to send requests to. */
export async function start(config: GatewayConfig, telemetry: Telemetry): Promise<RunningGateway> {
  const { host } = config;
  const store = openStore(config.store);
  const { callers, closeChannels } = openCallers(config, telemetry);
  const shadow = new Shadow({
    share: config.shadowShare,
    maxInFlight: config.shadowLimit,
    onComparison: (result) => telemetry.metrics.shadowComparisons.inc({ result }),
  });
  let setReady = (): void => {};
  const catalogue = watchStore(store, config, telemetry, () => setReady());
  const gateway = new Gateway({
    telemetry,
    catalogue,
    channels: config.channels,
    releases: new ReleaseList(store, catalogue),
    permits: new Permits({ maxRequests: config.queueLimit, maxBytes: config.queueBytes }),
    quota: new Quota({ perSecond: config.quotaPerMinute / 60, burst: config.quotaBurst }),
    authenticate: createAuthenticate({
      tokensFile: config.authTokensFile,
      jwks: config.authJwks,
      issuer: config.authIssuer,
      audience: config.authAudience,
    }),
    shadow,
    shadowChannel: config.shadowChannel,
    timeoutMs: config.timeoutMs,
    stages: (deadline) => rpcStages(callers, deadline),
  });
  const { port, maxMessageBytes, maxConnectionAgeMs, drainDelayMs, graceMs } = config;
  const server = await startServer({
    host,
    port,
    telemetry,
    services: [bind(reportService, reportImplementation(gateway))],
    tls: tlsOf(config),
    maxMessageBytes,
    maxConnectionAgeMs,
    drainDelayMs,
    graceMs,
  });
  setReady = () => server.setReady(catalogue.routes().length > 0);
  const metrics = await serveMetrics({
    host,
    port: config.metricsPort,
    metrics: telemetry.metrics,
    isReady: () => server.ready,
  });
  await catalogue.watch(config.storePollMs);
  return {
    port: server.port,
    metricsPort: metrics.port,
    close: async () => {
      await server.close();
      catalogue.stop();
      await shadow.settle();
      closeChannels();
      store.close();
      await metrics.close();
    },
  };
}

const tlsOf = ({ tlsCert, tlsKey, tlsCa }: GatewayConfig) => ({
  cert: tlsCert,
  key: tlsKey,
  ca: tlsCa,
});

function openCallers(
  config: GatewayConfig,
  telemetry: Telemetry,
): { readonly callers: Callers; readonly closeChannels: () => void } {
  const options = { telemetry, tls: tlsOf(config), timeoutMs: config.timeoutMs };
  const vision = openChannel(config.visionAddress, options);
  const labeler = openChannel(config.labelerAddress, options);
  const generator = openChannel(config.generatorAddress, options);
  return {
    callers: {
      vision: vision.client(visionService),
      labeler: labeler.client(labelerService),
      generator: generator.client(generatorService),
    },
    closeChannels: () => {
      for (const channel of [vision, labeler, generator]) channel.close();
    },
  };
}

/** The channels of the store, and that of the shadow beside those that are served. */
function watchStore(
  store: ReleaseStore,
  { channels, shadowChannel }: GatewayConfig,
  { logger, metrics }: Telemetry,
  onRoutes: () => void,
): Catalogue {
  const shelf = {
    channel: (name: string) => store.channels.find(name),
    manifest: (release: string) => store.manifest(release),
  };
  return new Catalogue(shelf, {
    channels: [...new Set([...channels, ...(shadowChannel === undefined ? [] : [shadowChannel])])],
    onChange: (routes: readonly Route[]) => {
      metrics.releaseInfo.reset();
      for (const { release, variant, channel, weight } of routes) {
        metrics.releaseInfo.set({ release, variant, channel }, 1);
        logger.info({ release, variant, channel, weight }, 'channel');
      }
      onRoutes();
    },
    onError: (error) => logger.warn({ err: error }, 'the store cannot be read'),
  });
}
