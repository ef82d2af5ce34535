import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'nice-grpc';
import { HealthDefinition } from 'nice-grpc-server-health';
import { type ChannelOptions, openChannel, type RpcChannel } from '../../lib/rpc/channel.ts';
import { generatorService, labelerService, visionService } from '../../lib/rpc/services.ts';
import type { Callers } from './stages.ts';

export interface ModelAddresses {
  readonly visionAddress: string;
  readonly labelerAddress: string;
  readonly generatorAddress: string;
}

/** The way to the model services. */
export interface Models {
  readonly callers: Callers;
  /** Resolves once a replica of each has said that it is ready; false where `signal` is first. */
  answering(signal: AbortSignal): Promise<boolean>;
  close(): void;
}

export function openModels(addresses: ModelAddresses, options: ChannelOptions): Models {
  const vision = openChannel(addresses.visionAddress, options);
  const labeler = openChannel(addresses.labelerAddress, options);
  const generator = openChannel(addresses.generatorAddress, options);
  const all = [vision, labeler, generator];
  return {
    callers: {
      vision: vision.client(visionService),
      labeler: labeler.client(labelerService),
      generator: generator.client(generatorService),
    },
    answering: async (signal) => {
      const each = await Promise.all(all.map((channel) => isAnswering(channel, signal)));
      return each.every(Boolean);
    },
    close: () => {
      for (const channel of all) channel.close();
    },
  };
}

/** How often a model service is asked whether it is ready, until it first is. */
const askMs = 100;
const askTimeoutMs = 2000;
/** grpc.health.v1.HealthCheckResponse.SERVING */
const serving = 1;

async function isAnswering(channel: RpcChannel, signal: AbortSignal): Promise<boolean> {
  const client = channel.client(HealthDefinition as never) as unknown as Client<HealthDefinition>;
  while (!signal.aborted) {
    try {
      const options = { signal, deadline: Date.now() + askTimeoutMs };
      const { status } = await client.check({ service: '' }, options);
      if ((status as number) === serving) return true;
    } catch {
      // Not up yet.
    }
    await sleep(askMs, undefined, { ref: false });
  }
  return false;
}
