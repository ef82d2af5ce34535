import { type Command, Option } from 'commander';
import { type CallOptions, type Client, Metadata, type ServiceDefinition } from 'nice-grpc';
import { DomainError } from '../lib/errors.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';

/** How to reach a server that needs TLS or a token, as `connectionOptions` parses it. */
export interface ConnectionFlags {
  readonly token?: string;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/** Adds the options of a connection to a server. */
export const connectionOptions = (command: Command): Command =>
  command
    .addOption(new Option('--token <token>', 'bearer token of the caller').env('RADSCRIBE_TOKEN'))
    .option(
      '--tls-ca <file>',
      "CA bundle that verifies the server's certificate, PEM; turns TLS on",
    )
    .option('--tls-cert <file>', 'certificate of the client, PEM, where the server asks for one')
    .option('--tls-key <file>', "key of the client's certificate, PEM");

export interface Peer<Definition extends ServiceDefinition> {
  readonly service: Definition;
  /** For errors, e.g. `gateway`. */
  readonly name: string;
  /** `host:port`. */
  readonly address: string;
  /** For errors: how to start one, or name another. */
  readonly advice: string;
}

/** What a call may be given; `deadline` in ms since the epoch. */
export type ClientCallOptions = CallOptions & { readonly deadline?: number };

/**
 * Connects to a service, does `work` with its client, and disconnects. `call` holds the options that
 * every call needs: the token.
 *
 * @throws {DomainError} SERVER_UNREACHABLE where nothing answers at the address, and what `work` throws.
 */
export async function withClient<Definition extends ServiceDefinition, T>(
  { service, name, address, advice }: Peer<Definition>,
  { token, tlsCa: ca, tlsCert: cert, tlsKey: key }: ConnectionFlags,
  work: (client: Client<Definition, ClientCallOptions>, call: ClientCallOptions) => Promise<T>,
): Promise<T> {
  const telemetry = createTelemetry({ service: 'radscribe', logLevel: 'silent' });
  const channel = openChannel(address, { telemetry, tls: { ca, cert, key } });
  const metadata = Metadata(token === undefined ? {} : { authorization: `Bearer ${token}` });
  try {
    return await work(channel.client(service), { metadata });
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    const message = `no ${name} answers at ${address}: ${advice}`;
    throw new DomainError('UNAVAILABLE', 'SERVER_UNREACHABLE', message, { cause: error });
  } finally {
    channel.close();
    await telemetry.close();
  }
}

/** Whether nothing answered at the address. */
const isUnreachable = (error: unknown): boolean =>
  error instanceof DomainError && error.reason === 'RPC_UNAVAILABLE';

/** Whether a call ended with its connection or its server, so that it may be repeated. */
export const isLost = (error: unknown): boolean =>
  error instanceof DomainError &&
  ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED'].includes(error.code);
