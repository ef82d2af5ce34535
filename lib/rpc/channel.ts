import { Channel } from '@grpc/grpc-js';
import { type Client, type ServiceDefinition, createClientFactory } from 'nice-grpc';
import type { CallOptions, ClientMiddleware } from 'nice-grpc-common';
import { errorDetailsClientMiddleware } from 'nice-grpc-error-details';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { flowControlWindow, maxMessageBytes, retryBuffer } from './limits.ts';
import { type DeadlineOptions, clientCalls } from './observe.ts';
import { Retries, RetryBudget, replicaLost } from './retry.ts';
import { type TlsFiles, channelCredentials } from './tls.ts';

export interface ChannelOptions {
  readonly telemetry: Telemetry;
  readonly tls?: TlsFiles;
  /** For calls without a deadline; default 60 s. */
  readonly timeoutMs?: number;
  /** Largest message that is received or sent, in bytes. */
  readonly maxMessageBytes?: number;
  /**
   * Repeat calls whose replica is lost (`replicaLost`) before it has answered; default true. False for
   * a caller that has a retry table of its own, as the gateway.
   */
  readonly retries?: boolean;
}

export interface RpcChannel {
  /** Errors of its calls are DomainErrors, with the reason and field that the service gave. */
  client<Definition extends ServiceDefinition>(
    service: Definition,
  ): Client<Definition, DeadlineOptions>;
  close(): void;
}

/**
 * A channel to all replicas of a service. `address` is `host:port`. The addresses of a name, as a
 * headless service has several, are called in turn; the name is resolved again when a connection ends.
 */
export function openChannel(address: string, options: ChannelOptions): RpcChannel {
  const { telemetry, tls, timeoutMs = 60_000, retries = true } = options;
  const target = address.includes('://')
    ? address.replace(/^https?:\/\//, 'dns:///')
    : `dns:///${address}`;
  const bytes = options.maxMessageBytes ?? maxMessageBytes;
  const channel = new Channel(target, channelCredentials(tls), {
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    'grpc.service_config_disable_resolution': 1,
    // Without a retry policy: grpc-js repeats only calls that no server has begun to handle.
    'grpc.enable_retries': 1,
    'grpc.per_rpc_retry_buffer_size': retryBuffer.perCallBytes,
    'grpc.retry_buffer_size': retryBuffer.totalBytes,
    'grpc.max_receive_message_length': bytes,
    'grpc.max_send_message_length': bytes,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 5_000,
    'grpc.dns_min_time_between_resolutions_ms': 5_000,
    'grpc-node.flow_control_window': flowControlWindow,
  });
  // The last is the outermost.
  const once = createClientFactory()
    .use(errorDetailsClientMiddleware)
    .use(clientCalls(telemetry, timeoutMs));
  const factory = retries ? once.use(repeated(timeoutMs)) : once;
  return {
    client: (service) => factory.create(service, channel),
    close: () => channel.close(),
  };
}

/** Repeats a call until it has given a first message: what a caller has received cannot be taken back. */
function repeated(timeoutMs: number): ClientMiddleware<DeadlineOptions> {
  const budget = new RetryBudget();
  return async function* repeatedCall(call, callOptions: CallOptions & DeadlineOptions) {
    if (call.requestStream) return yield* call.next(call.request, callOptions);
    const { deadline = Date.now() + timeoutMs, signal } = callOptions;
    const options = { ...callOptions, deadline };
    const retries = new Retries([replicaLost], { signal, deadline, budget });
    for (;;) {
      let hasAnswered = false;
      try {
        const responses = call.next(call.request, options);
        if (!call.responseStream) {
          const response = yield* responses;
          retries.succeed();
          return response;
        }
        for await (const response of responses) {
          hasAnswered = true;
          yield response;
        }
        return retries.succeed();
      } catch (error) {
        if (hasAnswered) throw error;
        await retries.pauseAfter(error);
      }
    }
  };
}
