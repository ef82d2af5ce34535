import { setTimeout as sleep } from 'node:timers/promises';
import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import {
  type CallContext,
  type ServerMiddleware,
  type ServiceDefinition,
  type ServiceImplementation,
  createServer,
} from 'nice-grpc';
import { errorDetailsServerMiddleware } from 'nice-grpc-error-details';
import { HealthDefinition, HealthServiceImpl, HealthState } from 'nice-grpc-server-health';
import { ServerReflection, ServerReflectionService } from 'nice-grpc-server-reflection';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { type DeadlineContext, deadlineInterceptor, deadlineMiddleware } from './deadline.ts';
import { openServerWindows } from './flow-control.ts';
import { maxMessageBytes } from './limits.ts';
import { observeServer } from './observe.ts';
import { portError } from './port-error.ts';
import { descriptorSet } from './services.ts';
import { type TlsFiles, serverCredentials } from './tls.ts';

// Whatever grpc-js has to say is also an error that we report ourselves.
setLogVerbosity(logVerbosity.NONE);
openServerWindows();

/** What a handler gets beside the request. */
export type Call = CallContext & DeadlineContext;

/** A service with its handlers; `bind` keeps their types together. */
export interface Binding {
  readonly definition: ServiceDefinition;
  readonly implementation: ServiceImplementation<ServiceDefinition, DeadlineContext>;
  readonly middleware: readonly ServerMiddleware[];
}

/** `middleware` runs within the error border, first one first: authentication, say. */
export const bind = <Definition extends ServiceDefinition>(
  definition: Definition,
  implementation: ServiceImplementation<Definition, DeadlineContext>,
  middleware: readonly ServerMiddleware[] = [],
): Binding => ({
  definition,
  implementation,
  middleware,
});

export interface RpcServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly telemetry: Telemetry;
  readonly services: readonly Binding[];
  readonly tls?: TlsFiles;
  /** Largest message taken and sent, in bytes. */
  readonly maxMessageBytes?: number;
  /**
   * A connection older than this is asked to go, so that clients look for new replicas; default
   * 5 minutes. Calls on it end in peace.
   */
  readonly maxConnectionAgeMs?: number;
  /** From NOT_SERVING to the refusal of calls: until every client and probe has seen it. */
  readonly drainDelayMs?: number;
  /** What calls get to end in once no new ones are taken. */
  readonly graceMs?: number;
}

export interface RpcServer {
  readonly port: number;
  /** What grpc.health.v1 says of the process and each of its services; NOT_SERVING at first. */
  setReady(ready: boolean): void;
  readonly ready: boolean;
  /**
   * NOT_SERVING, the drain delay in which calls are still taken, GOAWAY, and then the grace for calls
   * under way; what is left is cancelled.
   */
  close(): Promise<void>;
}

/** Listens with health, reflection, error border, metrics and traces. */
export async function startServer(options: RpcServerOptions): Promise<RpcServer> {
  const { host, port, telemetry, services, tls, drainDelayMs = 0, graceMs = 30_000 } = options;
  const health = HealthState();
  const ending = new AbortController();
  const server = createServer(serverOptions(options));
  const watched = server
    .with(errorDetailsServerMiddleware)
    .with(observeServer(telemetry))
    .with(deadlineMiddleware);
  for (const { definition, implementation, middleware } of services) {
    const inner = middleware.reduce((builder, next) => builder.with(next), watched);
    inner.add(definition, implementation);
  }
  server.with(endingWith(ending.signal)).add(HealthDefinition, HealthServiceImpl(health));
  const names = services.map(({ definition }) => serviceName(definition));
  server.add(ServerReflectionService, ServerReflection(descriptorSet(), names));
  let ready = true;
  const setReady = (value: boolean): void => {
    ready = value;
    for (const name of ['', ...names]) health.setStatus(value ? 'healthy' : 'unhealthy', name);
  };
  setReady(false);
  // For probes that restart a process: it answers, however busy it is and whether ready or not.
  health.setStatus('healthy', 'liveness');
  const bound = await server
    .listen(`${host}:${port}`, serverCredentials(tls))
    .catch((cause: Error) => {
      const inUse = cause.message.includes('EADDRINUSE') ? { code: 'EADDRINUSE' } : {};
      throw portError(host, port, Object.assign(cause, inUse));
    });
  const close = async (): Promise<void> => {
    setReady(false);
    await sleep(drainDelayMs);
    ending.abort();
    const late = sleep(graceMs, 'late', { ref: false });
    if ((await Promise.race([server.shutdown(), late])) === 'late') server.forceShutdown();
  };
  let closing: Promise<void> | undefined;
  return {
    port: bound,
    setReady,
    get ready() {
      return ready;
    },
    close: () => (closing ??= close()),
  };
}

const serverOptions = (options: RpcServerOptions): Record<string, unknown> => {
  const bytes = options.maxMessageBytes ?? maxMessageBytes;
  const { maxConnectionAgeMs = 300_000, graceMs = 30_000 } = options;
  return {
    interceptors: [deadlineInterceptor],
    'grpc.max_receive_message_length': bytes,
    'grpc.max_send_message_length': bytes,
    'grpc.max_connection_age_ms': maxConnectionAgeMs,
    'grpc.max_connection_age_grace_ms': graceMs,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  };
};

const serviceName = (definition: ServiceDefinition): string =>
  Object.values(definition)[0]?.path.split('/')[1] ?? '';

/** Health watchers wait for ever: they are sent away when the server ends. */
const endingWith = (ending: AbortSignal): ServerMiddleware =>
  async function* endWith(call, context) {
    const signal = AbortSignal.any([context.signal, ending]);
    return yield* call.next(call.request, { ...context, signal });
  };
