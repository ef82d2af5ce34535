import { openChannel } from '../../lib/rpc/channel.ts';
import { generatorService, labelerService, visionService } from '../../lib/rpc/services.ts';
import { createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { isLabelVariant } from '../../lib/models/variants.ts';
import type { Manifest } from '../../lib/releases/manifest.ts';
import { runChain, type ChainReport } from '../../services/gateway/chain.ts';
import { rpcModelServices } from '../../services/gateway/model-services.ts';
import type { DescribedImage } from '../../services/gateway/report-response.ts';
import { GatewayRetries } from '../../services/gateway/retries.ts';

interface Direct {
  /** The gateway's chain over the model services, called from here. */
  report(image: Uint8Array): Promise<ChainReport<DescribedImage>>;
  close(): void;
}

/** Ports of vision, labeler and generator on this machine. */
export function openDirect(
  ports: Readonly<Record<'vision' | 'labeler' | 'generator', { readonly grpc: number }>>,
  { id: release, variant }: Manifest,
): Direct {
  const telemetry = createTelemetry({ service: 'bench', logLevel: 'silent' });
  const open = (name: keyof typeof ports) =>
    openChannel(`127.0.0.1:${ports[name].grpc}`, { telemetry, retries: false });
  const [vision, labeler, generator] = [open('vision'), open('labeler'), open('generator')];
  const clients = {
    vision: vision.client(visionService),
    labeler: labeler.client(labelerService),
    generator: generator.client(generatorService),
  };
  const services = rpcModelServices(clients, new GatewayRetries());
  return {
    report: async (data) => {
      const study = {
        images: [{ data, view: undefined }],
        indication: '',
        decoding: null,
        includeLabels: true,
      };
      const { signal } = new AbortController();
      const limits = { signal, deadline: undefined, bulk: false };
      const call = { ...limits, release, priority: 'interactive' } as const;
      return runChain(services, study, call, { conditioned: isLabelVariant(variant) });
    },
    close: () => [vision, labeler, generator].forEach((channel) => channel.close()),
  };
}
