import { invalidArgument } from '../errors.ts';
import type { Preset } from '../models/preset.ts';
import { backboneOf, type VariantName, variantParameters } from '../models/variants.ts';
import type { Device, StageCosts } from './costs.ts';
import { Distribution } from './distribution.ts';
import {
  type Answer,
  batchCapacity,
  batchQueue,
  decodingCapacity,
  decodingQueue,
  type Lengths,
} from './queue.ts';

export interface Demand {
  /** Reports per second. */
  readonly rps: number;
  readonly variant: VariantName;
  readonly preset: Preset;
  readonly imageBytes: number;
  readonly tokens: Lengths;
  /** The p99 from call to whole report that must not be exceeded. */
  readonly p99Ms: number;
}

/** The batch sizes of deploy/k8s. */
export const maxBatches = { vision: 16, labeler: 64, generator: 32 } as const;
type ModelStage = keyof typeof maxBatches;

interface StagePlan {
  readonly replicas: number;
  /** Share of the capacity of the replicas. */
  readonly load: number;
  readonly p99Ms: number;
  readonly memoryMiB: number;
}

export interface Plan {
  readonly stages: Readonly<Record<ModelStage | 'gateway', StagePlan>>;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly firstTokenP99Ms: number;
  readonly gpus: number;
  /** Bytes of one request over each hop, by direction. */
  readonly hops: Readonly<Record<string, number>>;
  /** Bytes of the weights of all parts, as float32. */
  readonly releaseBytes: number;
}

/** The share of its capacity that a stage is planned to carry: the rest is for bursts and a lost replica. */
const plannedLoad = 0.7;
/** A gateway process moves 50 to 115 MB/s through gRPC; measured over loopback with messages of 3 MB. */
const gatewayBytesPerS = 60e6;
/** What the gateway and a hop add. Measured over loopback: 0.8 to 1.3 ms at p50. */
const gatewayMs = { p50: 2, p99: 5 };
const processMiB = 300;

/**
 * Replicas, memory and durations for a demand. Each stage gets the fewest replicas that keep it under 70 % of
 * its capacity, then more while the p99 is too long. Arrivals at each replica are assumed to be Poisson;
 * round robin spreads them more evenly.
 */
export function plan(demand: Demand, device: Device): Plan {
  const { rps } = demand;
  if (!(rps > 0)) throw invalidArgument('PLAN_INVALID', '--rps', `got ${rps}, expected above 0`);
  const rate = rps / 1000;
  const stages = stageModels(device.costs, demand);
  const fewest = (name: ModelStage) => Math.ceil(rate / (stages[name].capacity * plannedLoad));
  const replicas = {
    vision: fewest('vision'),
    labeler: fewest('labeler'),
    generator: fewest('generator'),
  };
  for (;;) {
    const chain = chainOf(stages, rate, replicas);
    if (chain.whole.quantile(0.99) <= demand.p99Ms) return planOf(demand, stages, replicas, chain);
    const slowest = stageNames.reduce((a, b) =>
      chain.answers[a].sojourn.quantile(0.99) >= chain.answers[b].sojourn.quantile(0.99) ? a : b,
    );
    // No request waits there any more: the work itself takes too long.
    if (rate / replicas[slowest] < 0.02 * stages[slowest].capacity)
      throw unreachable(demand, stages, slowest);
    replicas[slowest] = Math.ceil(replicas[slowest] * 1.15 + 0.5);
  }
}

type Replicas = Readonly<Record<ModelStage, number>>;
type Stages = ReturnType<typeof stageModels>;

/** The durations of each stage at its share of the load, and of the whole; the stages are assumed independent. */
function chainOf(stages: Stages, rate: number, replicas: Replicas) {
  const answer = (name: ModelStage) => stages[name].answer(rate / replicas[name]);
  const answers = {
    vision: answer('vision'),
    labeler: answer('labeler'),
    generator: answer('generator'),
  };
  const gateway = Distribution.of(
    [
      [gatewayMs.p50, 0.98],
      [gatewayMs.p99, 0.02],
    ],
    stages.binMs,
  );
  const before = gateway.plus(answers.vision.sojourn).plus(answers.labeler.sojourn);
  return { answers, before, whole: before.plus(answers.generator.sojourn) };
}

function unreachable({ p99Ms }: Demand, stages: Stages, slowest: ModelStage): Error {
  const aloneMs = stageNames.reduce((sum, name) => sum + stages[name].aloneMs, 0);
  return invalidArgument(
    'PLAN_UNREACHABLE',
    '--p99',
    `no number of replicas answers within ${p99Ms / 1000} s: one request alone takes ${(aloneMs / 1000).toFixed(2)} s, most of it in ${slowest}; take a faster device or a smaller variant`,
  );
}

function planOf(
  demand: Demand,
  stages: Stages,
  replicas: Replicas,
  { answers, before, whole }: ReturnType<typeof chainOf>,
): Plan {
  const { rps, variant, preset } = demand;
  const rate = rps / 1000;
  const hops = hopBytes(demand);
  const perRequest = Object.values(hops).reduce((sum, bytes) => sum + bytes, 0);
  const gateways = Math.ceil((rps * perRequest) / (gatewayBytesPerS * plannedLoad));
  const memory = memoryMiB(variant, preset);
  const planned = (name: ModelStage): StagePlan => ({
    replicas: replicas[name],
    load: rate / replicas[name] / stages[name].capacity,
    p99Ms: answers[name].sojourn.quantile(0.99),
    memoryMiB: memory[name],
  });
  const firstToken = stages.generator.firstToken(rate / replicas.generator);
  return {
    stages: {
      gateway: {
        replicas: gateways,
        load: (rps * perRequest) / gateways / gatewayBytesPerS,
        p99Ms: gatewayMs.p99,
        memoryMiB: processMiB + Math.ceil((64 * perRequest) / 2 ** 20),
      },
      vision: planned('vision'),
      labeler: planned('labeler'),
      generator: planned('generator'),
    },
    p50Ms: whole.quantile(0.5),
    p99Ms: whole.quantile(0.99),
    firstTokenP99Ms: before.plus(firstToken).quantile(0.99),
    gpus: replicas.vision + replicas.labeler + replicas.generator,
    hops,
    releaseBytes: Object.values(weightBytes(variant, preset)).reduce((sum, size) => sum + size, 0),
  };
}

const stageNames = ['vision', 'labeler', 'generator'] as const;

interface StageModel {
  /** The highest rate, in requests per millisecond, of one replica. */
  readonly capacity: number;
  readonly aloneMs: number;
  readonly answer: (rate: number) => Answer;
}

function stageModels(costs: StageCosts, { variant, tokens }: Demand) {
  const vision = costs.vision[backboneOf(variant)];
  const { labeler, generator } = costs;
  const aloneMs = generator.prefillMs + tokens.mean * (generator.stepFixedMs + generator.stepRowMs);
  // Fine enough for the fastest relevant part, coarse enough for the sum of all.
  const binMs = Math.max(0.5, (aloneMs + vision.fixedMs + vision.itemMs) / 400);
  const bulk = (cost: typeof labeler, maxBatch: number): StageModel => ({
    capacity: batchCapacity(cost, maxBatch),
    aloneMs: cost.fixedMs + cost.itemMs,
    answer: (rate: number) => batchQueue(cost, { rate, maxBatch, binMs }),
  });
  const decode = (rate: number) =>
    decodingQueue(generator, tokens, { rate, maxBatch: maxBatches.generator, binMs });
  return {
    binMs,
    vision: bulk(vision, maxBatches.vision),
    labeler: bulk(labeler, maxBatches.labeler),
    generator: {
      capacity: decodingCapacity(generator, tokens, maxBatches.generator),
      aloneMs,
      answer: decode,
      firstToken: (rate: number) => decode(rate).firstToken,
    },
  };
}

/** Pooled features and tokens cross as float16, the image as it was sent, text as UTF-8. */
function hopBytes({ variant, preset, imageBytes, tokens }: Demand): Record<string, number> {
  const channels = channelsOf(variant, preset);
  const visual = 2 * channels * tokenCount(variant, preset);
  const pooled = 2 * channels;
  const report = 400 + 6 * tokens.mean;
  return {
    'app -> gateway': imageBytes,
    'gateway -> vision': imageBytes,
    'vision -> gateway': visual + pooled,
    'gateway -> labeler': pooled,
    'labeler -> gateway': 600,
    'gateway -> generator': visual + 200,
    // Each token is one message.
    'generator -> gateway': 60 * tokens.mean,
    'gateway -> app': report,
  };
}

export function channelsOf(variant: VariantName, { vit, resnet, densenet }: Preset): number {
  const backbone = backboneOf(variant);
  if (backbone === 'vit') return vit.hidden;
  if (backbone === 'resnet101') return resnet.width * 32;
  // Each transition halves the channels that its block ends with.
  return densenet.blocks.reduce(
    (channels, layers, i) =>
      (i === 0 ? channels : Math.floor(channels / 2)) + layers * densenet.growth,
    densenet.initial,
  );
}

export function tokenCount(variant: VariantName, { imageSize, vit }: Preset): number {
  const side =
    backboneOf(variant) === 'vit' ? imageSize / vit.patch / vit.poolGrid : imageSize / 32;
  return side * side;
}

/** Bytes of the weights of each service, as float32. */
function weightBytes(variant: VariantName, preset: Preset): Record<ModelStage, number> {
  const bytes = { vision: 0, labeler: 0, generator: 0 };
  for (const { name, shape } of variantParameters(variant, preset)) {
    const part = name.slice(0, name.indexOf('.'));
    const stage = part === 'vision' || part === 'labeler' ? part : 'generator';
    bytes[stage] += 4 * shape.reduce((product, size) => product * size, 1);
  }
  return bytes;
}

/**
 * Memory of the device or, on a CPU, of the process: two releases during a switch, the largest batch in
 * flight, and the process itself.
 */
function memoryMiB(variant: VariantName, preset: Preset): Record<ModelStage, number> {
  const weights = weightBytes(variant, preset);
  const { t5, imageSize, maxTextTokens, maxReportTokens } = preset;
  const positions = tokenCount(variant, preset) + maxTextTokens + 3;
  const row = 4 * t5.layers * 2 * t5.heads * t5.dKv * (positions + maxReportTokens);
  // The widest pair of feature maps, at a quarter of the image's side.
  const image = 4 * 3 * imageSize ** 2 + 2 * 4 * 256 * (imageSize / 4) ** 2;
  const mebibytes = (stage: ModelStage, working: number) =>
    Math.ceil(processMiB + (2 * weights[stage] + working) / 2 ** 20);
  return {
    vision: mebibytes('vision', maxBatches.vision * image),
    labeler: mebibytes('labeler', 0),
    // A step holds both the past and the present keys and values.
    generator: mebibytes('generator', maxBatches.generator * 2 * row),
  };
}
