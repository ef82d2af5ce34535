import { Channel } from '@grpc/grpc-js';
import {
  type Client,
  ClientError,
  Metadata,
  type ServiceDefinition,
  Status,
  createClientFactory,
} from 'nice-grpc';
import type { CallOptions, ClientMiddleware } from 'nice-grpc-common';
import { errorDetailsClientMiddleware } from 'nice-grpc-error-details';
import { DomainError } from '../errors.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { limitTo, timeoutHeader } from './deadline.ts';
import { flowControlWindow, maxMessageBytes, retryBuffer } from './limits.ts';
import { type DeadlineOptions, observeClient } from './observe.ts';
import { type TlsFiles, channelCredentials } from './tls.ts';

export interface ChannelOptions {
  readonly telemetry: Telemetry;
  readonly tls?: TlsFiles;
  /** For calls that bring no deadline; default 60 s. */
  readonly timeoutMs?: number;
  /** Largest message taken and sent, in bytes. */
  readonly maxMessageBytes?: number;
  /** Send a call again that was answered UNAVAILABLE, or whose connection was lost; default true. */
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
 * A channel to all replicas of a service. `address` is `host:port`; a name with several addresses, as
 * a headless service has, is called in turn, and looked up again when a connection ends.
 */
export function openChannel(address: string, options: ChannelOptions): RpcChannel {
  const { telemetry, tls, timeoutMs = 60_000, retries = true } = options;
  const target = address.includes('://')
    ? address.replace(/^https?:\/\//, 'dns:///')
    : `dns:///${address}`;
  const bytes = options.maxMessageBytes ?? maxMessageBytes;
  const channel = new Channel(target, channelCredentials(tls), {
    'grpc.service_config': JSON.stringify(serviceConfig(retries)),
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_retries': retries ? 1 : 0,
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
  // The last is called first.
  const factory = createClientFactory()
    .use(errorDetailsClientMiddleware)
    .use(sendAgain(retries))
    .use(deadlineMiddleware(timeoutMs))
    .use(observeClient(telemetry));
  return {
    client: (service) => factory.create(service, channel),
    close: () => channel.close(),
  };
}

/** Retries are paid from a budget that answered calls fill: a broken service is not flooded. */
const serviceConfig = (retries: boolean): object => ({
  loadBalancingConfig: [{ round_robin: {} }],
  ...(retries && {
    methodConfig: [
      {
        name: [{}],
        retryPolicy: {
          maxAttempts: 4,
          initialBackoff: '0.05s',
          maxBackoff: '1s',
          backoffMultiplier: 3,
          retryableStatusCodes: ['UNAVAILABLE'],
        },
      },
    ],
    retryThrottling: { maxTokens: 50, tokenRatio: 0.2 },
  }),
});

/**
 * Asks once more where the connection was lost in the midst of an answer. grpc-js sends no call again of
 * which it has seen the headers, and a server writes those, and the message, before the status: one that
 * is killed in between would fail a unary call although nothing of its answer was given to the caller.
 */
const sendAgain = (retries: boolean): ClientMiddleware =>
  async function* sendAgain(call, options) {
    const once = !retries || call.requestStream || call.responseStream;
    if (once) return yield* call.next(call.request, options);
    let begun = false;
    const onHeader = (header: Metadata): void => {
      begun = true;
      options.onHeader?.(header);
    };
    try {
      return yield* call.next(call.request, { ...options, onHeader });
    } catch (error) {
      const lost = error instanceof ClientError && error.code === Status.UNAVAILABLE;
      if (!begun || !lost) throw error;
      return yield* call.next(call.request, options);
    }
  };

/** Tells the server what is left of the time, and stops waiting when it is over. */
const deadlineMiddleware = (timeoutMs: number): ClientMiddleware<DeadlineOptions> =>
  async function* deadlineMiddleware(call, callOptions: CallOptions & DeadlineOptions) {
    const { deadline = Date.now() + timeoutMs, signal, ...rest } = callOptions;
    using limit = limitTo(deadline, signal);
    const metadata = Metadata(rest.metadata).set('grpc-timeout', timeoutHeader(deadline));
    try {
      return yield* call.next(call.request, { ...rest, metadata, signal: limit.signal });
    } catch (error) {
      if (!limit.signal.aborted || signal?.aborted === true) throw error;
      const message = `${call.method.path.slice(1)} was not answered in time`;
      throw new DomainError('DEADLINE_EXCEEDED', 'RPC_DEADLINE', message, { cause: error });
    }
  };
