import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'nice-grpc';
import { HealthDefinition } from 'nice-grpc-server-health';
import { type ChannelOptions, openChannel, type RpcChannel } from '../../lib/rpc/channel.ts';
import { generatorService, labelerService, visionService } from '../../lib/rpc/services.ts';
import type { ModelClients } from './model-services.ts';

export interface ModelAddresses {
  readonly visionAddress: string;
  readonly labelerAddress: string;
  readonly generatorAddress: string;
}

/** The channels to the model services. */
export interface ModelChannels {
  readonly clients: ModelClients;
  /** Resolves to true once a replica of each has reported that it is ready; to false on abort. */
  ready(signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Opens a channel to each model service, without retries: the gateway's table has them. */
export function openModelChannels(
  addresses: ModelAddresses,
  options: Omit<ChannelOptions, 'retries'>,
): ModelChannels {
  const open = (address: string) => openChannel(address, { ...options, retries: false });
  const vision = open(addresses.visionAddress);
  const labeler = open(addresses.labelerAddress);
  const generator = open(addresses.generatorAddress);
  const all = [vision, labeler, generator];
  return {
    clients: {
      vision: vision.client(visionService),
      labeler: labeler.client(labelerService),
      generator: generator.client(generatorService),
    },
    ready: async (signal) => {
      const each = await Promise.all(all.map((channel) => isReady(channel, signal)));
      return each.every(Boolean);
    },
    close: () => {
      for (const channel of all) channel.close();
    },
  };
}

/** The interval at which a model service is checked until it first reports that it is ready. */
const pollMs = 100;
const checkTimeoutMs = 10_000;
/** grpc.health.v1.HealthCheckResponse.SERVING */
const serving = 1;

async function isReady(channel: RpcChannel, signal: AbortSignal): Promise<boolean> {
  const client = channel.client(HealthDefinition as never) as unknown as Client<HealthDefinition>;
  while (!signal.aborted) {
    try {
      const options = { signal, deadline: Date.now() + checkTimeoutMs };
      const { status } = await client.check({ service: '' }, options);
      if ((status as number) === serving) return true;
    } catch {
      // Not up yet.
    }
    await sleep(pollMs, undefined, { ref: false });
  }
  return false;
}
