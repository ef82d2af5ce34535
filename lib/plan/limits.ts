import type { Device } from './costs.ts';
import { type Demand, type Plan, plan } from './sizing.ts';

/** A resource that does not grow with the number of replicas, and what to do once it is the bottleneck. */
interface Limit {
  readonly what: string;
  readonly unit: string;
  readonly most: number;
  readonly use: (plan: Plan, demand: Demand) => number;
  readonly remedy: string;
}

const pods = ({ stages }: Plan) =>
  Object.values(stages).reduce((sum, { replicas }) => sum + replicas, 0);
const mostReplicas = ({ stages }: Plan) =>
  Math.max(...Object.values(stages).map(({ replicas }) => replicas));

export const limits: readonly Limit[] = [
  {
    what: "the autoscaler's ceiling in overlays/production",
    unit: 'replicas of one stage',
    most: 24,
    use: mostReplicas,
    remedy: 'raise maxReplicaCount there, once the GPUs exist',
  },
  {
    what: 'one DNS answer for a headless Service, without falling back to TCP',
    unit: 'addresses',
    most: 75,
    use: mostReplicas,
    remedy: 'shard a stage over several Services, or resolve through xDS',
  },
  {
    what: 'connections from every gateway to every replica',
    unit: 'connections of one gateway',
    most: 1000,
    use: ({ stages }) =>
      stages.vision.replicas + stages.labeler.replicas + stages.generator.replicas,
    remedy: 'let each gateway know a subset of the replicas',
  },
  {
    what: 'one 100 Gbit/s path into the cluster',
    unit: 'Gbit/s',
    most: 80,
    use: ({ hops }, { rps }) =>
      (rps * 8 * ((hops['app -> gateway'] ?? 0) + (hops['gateway -> app'] ?? 0))) / 1e9,
    remedy: 'spread callers over several clusters; send smaller images: the model gets 512 x 512',
  },
  {
    what: 'polls of the store by every replica, every ten seconds',
    unit: 'requests/s to one prefix',
    most: 5500,
    use: (plan) => pods(plan) / 10,
    remedy: 'raise RADSCRIBE_STORE_POLL_MS',
  },
  {
    what: 'a release switch, fetched by every GPU replica within five minutes',
    unit: 'GB/s from the store',
    most: 10,
    use: ({ gpus, releaseBytes }) => (gpus * releaseBytes) / 3 / 300 / 1e9,
    remedy: 'image volumes, whose layers nodes cache and share, or a cache in each zone',
  },
  {
    what: 'one Prometheus server',
    unit: 'series',
    most: 5e6,
    use: (plan) => pods(plan) * 900,
    remedy: 'shard Prometheus by namespace; keep only the recorded rules for a long time',
  },
  {
    what: 'one Kubernetes cluster (5,000 nodes, 8 GPUs each)',
    unit: 'GPUs',
    most: 40_000,
    use: ({ gpus }) => gpus,
    remedy: 'several clusters, each with all stages; pack the labeler onto shared GPUs',
  },
];

export interface Growth {
  readonly factor: number;
  readonly rps: number;
  readonly gpus: number;
  /** The limits that are exceeded, the furthest first. */
  readonly broken: readonly { readonly limit: Limit; readonly use: number }[];
}

/** The limits that are exceeded at this demand and at multiples of it. */
export function growth(demand: Demand, device: Device, factors = [1, 10, 100, 1000]): Growth[] {
  return factors.map((factor) => {
    const grown = { ...demand, rps: demand.rps * factor };
    const planned = plan(grown, device);
    const broken = limits
      .map((limit) => ({ limit, use: limit.use(planned, grown) }))
      .filter(({ limit, use }) => use > limit.most)
      .toSorted((a, b) => b.use / b.limit.most - a.use / a.limit.most);
    return { factor, rps: grown.rps, gpus: planned.gpus, broken };
  });
}
