import { openChannel } from '../../lib/rpc/channel.ts';
import { generatorService, labelerService, visionService } from '../../lib/rpc/services.ts';
import { createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { isLabelVariant } from '../../lib/models/variants.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import { runChain, type ChainReport } from '../../services/gateway/chain.ts';
import type { Seen } from '../../services/gateway/response.ts';
import { rpcStages } from '../../services/gateway/stages.ts';

interface Direct {
  /** The gateway's chain over the model services, called from here. */
  report(picture: Uint8Array): Promise<ChainReport<Seen>>;
  close(): void;
}

/** Ports of vision, labeler and generator on this machine. */
export function openDirect(
  ports: Readonly<Record<'vision' | 'labeler' | 'generator', { readonly grpc: number }>>,
  { id: release, variant }: Manifest,
): Direct {
  const telemetry = createTelemetry({ service: 'bench', logLevel: 'silent' });
  const open = (name: keyof typeof ports) =>
    openChannel(`127.0.0.1:${ports[name].grpc}`, { telemetry });
  const [vision, labeler, generator] = [open('vision'), open('labeler'), open('generator')];
  const callers = {
    vision: vision.client(visionService),
    labeler: labeler.client(labelerService),
    generator: generator.client(generatorService),
  };
  return {
    report: async (data) => {
      const study = {
        images: [{ data, view: undefined }],
        indication: '',
        decoding: null,
        includeLabels: true,
      };
      const { signal } = new AbortController();
      const hop = { release, priority: 'interactive', signal } as const;
      const options = { conditioned: isLabelVariant(variant), stream: false };
      for await (const event of runChain(rpcStages(callers, undefined), study, hop, options)) {
        if (event.kind === 'report') return event.report;
      }
      throw new Error('the chain ended without a report');
    },
    close: () => [vision, labeler, generator].forEach((channel) => channel.close()),
  };
}
