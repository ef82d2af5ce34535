import { type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { portError } from '../rpc/port-error.ts';
import type { Metrics } from '../telemetry/metrics.ts';

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface MetricsServerOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly metrics: Metrics;
  /** Whether the service answers calls; liveness does not depend on it. */
  readonly isReady: () => boolean;
}

/** Serves `/metrics` for Prometheus, `/healthz` (alive) and `/readyz` (answers calls). */
export async function serveMetrics(options: MetricsServerOptions): Promise<MetricsServer> {
  const { host, port, metrics, isReady } = options;
  const { registry } = metrics;
  const answer = async (path: string, response: ServerResponse): Promise<void> => {
    if (path === '/metrics') {
      response.setHeader('content-type', registry.contentType);
      response.end(await registry.metrics());
    } else if (path === '/healthz') {
      response.end('ok\n');
    } else if (path === '/readyz') {
      response.statusCode = isReady() ? 200 : 503;
      response.end(isReady() ? 'ready\n' : 'not ready\n');
    } else {
      response.statusCode = 404;
      response.end('expected /metrics, /healthz or /readyz\n');
    }
  };
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0]!;
    answer(path, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(portError(host, port, cause)));
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
