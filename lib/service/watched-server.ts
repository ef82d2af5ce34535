import type { Config } from './settings.ts';
import { type MetricsServer, serveMetrics } from './metrics-page.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { type Binding, type RpcServer, startServer } from '../rpc/server.ts';
import type { lifecycleSettings, listenSettings } from './server-settings.ts';
import type { TlsFiles } from '../rpc/tls.ts';

type ServerConfig = Config<ReturnType<typeof listenSettings> & typeof lifecycleSettings> & {
  readonly maxMessageBytes?: number;
};

/** Starts the services of a process and its metrics page: both listen, or neither if a port is in use. */
export async function startWatchedServer(
  config: ServerConfig,
  telemetry: Telemetry,
  services: readonly Binding[],
): Promise<{ readonly server: RpcServer; readonly metrics: MetricsServer }> {
  const server = await startServer({ ...config, telemetry, services, tls: tlsOf(config) });
  try {
    const metrics = await serveMetrics({
      host: config.host,
      port: config.metricsPort,
      metrics: telemetry.metrics,
      isReady: () => server.ready,
    });
    return { server, metrics };
  } catch (error) {
    await server.close();
    throw error;
  }
}

/** The certificate files of a server's settings. */
export const tlsOf = ({
  tlsCert: cert,
  tlsKey: key,
  tlsCa: ca,
}: Pick<ServerConfig, 'tlsCert' | 'tlsKey' | 'tlsCa'>): TlsFiles => ({ cert, key, ca });
