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
import { type DeadlineContext, deadlineInterceptor } from './deadline.ts';
import { openServerWindows } from './flow-control.ts';
import { maxMessageBytes } from './limits.ts';
import { serverCalls } from './observe.ts';
import { portError } from './port-error.ts';
import { descriptorSet } from './services.ts';
import { type TlsFiles, serverCredentials } from './tls.ts';

// Whatever grpc-js would log is also an error that we report ourselves.
setLogVerbosity(logVerbosity.NONE);
openServerWindows();

/** What a handler receives beside the request. */
export type Call = CallContext & DeadlineContext;

/** A service with its handlers, made by `bind`. */
export interface Binding {
  readonly definition: ServiceDefinition;
  readonly implementation: ServiceImplementation<ServiceDefinition, DeadlineContext>;
}

/** A service and its handlers, which must be of its methods. */
export const bind = <Definition extends ServiceDefinition>(
  definition: Definition,
  implementation: ServiceImplementation<Definition, DeadlineContext>,
): Binding => ({ definition, implementation });

export interface RpcServerOptions {
  readonly host: string;
  /** 0 chooses a free port. */
  readonly port: number;
  readonly telemetry: Telemetry;
  readonly services: readonly Binding[];
  readonly tls?: TlsFiles;
  /** Largest message that is received or sent, in bytes. */
  readonly maxMessageBytes?: number;
  /**
   * Maximum connection age: an older connection is closed once its calls have ended, so that clients
   * resolve the name again and find new replicas; default 5 minutes.
   */
  readonly maxConnectionAgeMs?: number;
  /** From NOT_SERVING to the refusal of calls: the time in which clients and probes notice. */
  readonly drainDelayMs?: number;
  /** How long calls in flight may run once new ones are refused. */
  readonly graceMs?: number;
}

export interface RpcServer {
  readonly port: number;
  /** What grpc.health.v1 reports for the process and each of its services; NOT_SERVING at first. */
  setReady(ready: boolean): void;
  readonly ready: boolean;
  /**
   * Reports NOT_SERVING, accepts calls for the drain delay, sends GOAWAY, and waits for the calls in
   * flight for the grace period; those that are left are cancelled.
   */
  close(): Promise<void>;
}

/** Listens, with health, reflection, error border, metrics and traces. Throws PORT_UNAVAILABLE. */
export async function startServer(options: RpcServerOptions): Promise<RpcServer> {
  const { host, port, telemetry, services, tls, drainDelayMs = 0, graceMs = 30_000 } = options;
  const health = HealthState();
  const ending = new AbortController();
  const server = createServer(serverOptions(options));
  const watched = server.with(errorDetailsServerMiddleware).with(serverCalls(telemetry));
  for (const { definition, implementation } of services) watched.add(definition, implementation);
  server.with(endingWith(ending.signal)).add(HealthDefinition, HealthServiceImpl(health));
  const names = services.map(({ definition }) => serviceName(definition));
  server.add(ServerReflectionService, ServerReflection(descriptorSet(), names));
  let ready = true;
  const setReady = (value: boolean): void => {
    ready = value;
    for (const name of ['', ...names]) health.setStatus(value ? 'healthy' : 'unhealthy', name);
  };
  setReady(false);
  // For liveness probes, which must not restart a process that is busy or not ready.
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

/** Health watchers never end by themselves: their streams are closed when the server closes. */
const endingWith = (ending: AbortSignal): ServerMiddleware =>
  async function* endWith(call, context) {
    const signal = AbortSignal.any([context.signal, ending]);
    return yield* call.next(call.request, { ...context, signal });
  };
