import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { fileError } from '../../lib/data/files.ts';
import { invalidArgument } from '../../lib/errors.ts';
import { loadPreset } from '../../lib/models/preset.ts';
import { type VariantName, variantNames } from '../../lib/models/variants.ts';
import { type Device, devices } from '../../lib/plan/costs.ts';
import { type Growth, growth } from '../../lib/plan/limits.ts';
import { type Demand, type Plan, plan } from '../../lib/plan/sizing.ts';
import { positiveNumber } from '../args.ts';
import { printTable } from '../table.ts';

interface PlanOptions {
  readonly rps: number;
  readonly variant: VariantName;
  readonly gpu: string;
  readonly preset: string;
  readonly imageKb: number;
  readonly tokens: number;
  readonly p99: number;
  readonly costs?: string;
  readonly json?: true;
}

/** `radscribe plan`: how much hardware a load needs, and what limits a larger one. */
export function registerPlan(program: Command): void {
  program
    .command('plan')
    .description('size a cluster: replicas, memory, p99 and network for a load')
    .requiredOption('--rps <n>', 'reports a second', positiveNumber)
    .addOption(new Option('--variant <name>', 'model').choices(variantNames).default('vit-label'))
    .addOption(new Option('--gpu <name>', 'device').choices(Object.keys(devices)).default('h200'))
    .option('--preset <name>', 'sizes of the model, as a name or a JSON file', 'paper')
    .option('--image-kb <n>', 'size of an encoded image, in kB', positiveNumber, 500)
    .option('--tokens <n>', 'mean number of tokens of a report', positiveNumber, 80)
    .option('--p99 <seconds>', 'target for the p99 latency of a report', positiveNumber, 10)
    .option(
      '--costs <file>',
      'costs measured on your device, instead of the table in lib/plan/costs.ts',
    )
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  radscribe plan --rps 50 --variant vit-label --gpu h200
  radscribe plan --rps 5 --gpu l4 --costs costs.json

costs.json, in ms: {"source": "...", "memoryGiB": 24, "costs": {
  "vision": {"chexnet": {"fixedMs", "itemMs"}, "resnet101": {...}, "vit": {...}},
  "labeler": {"fixedMs", "itemMs"}, "generator": {"prefillMs", "stepFixedMs", "stepRowMs"}}}`,
    )
    .action(async (options: PlanOptions) => {
      const device = options.costs ? await readDevice(options.costs) : deviceNamed(options.gpu);
      const preset = loadPreset(options.preset);
      const demand: Demand = {
        rps: options.rps,
        variant: options.variant,
        preset,
        imageBytes: options.imageKb * 1000,
        tokens: {
          mean: options.tokens,
          deviation: 0.3 * options.tokens,
          most: Math.max(options.tokens, preset.maxReportTokens),
        },
        p99Ms: options.p99 * 1000,
      };
      const planned = plan(demand, device);
      const grown = growth(demand, device);
      process.stdout.write(
        options.json
          ? `${JSON.stringify({ ...planned, growth: grown.map(plainGrowth), source: device.source })}\n`
          : describe(options, device, planned, grown),
      );
    });
}

function deviceNamed(name: string): Device {
  const device = devices[name];
  if (device) return device;
  throw invalidArgument(
    'PLAN_INVALID',
    '--gpu',
    `got ${name}, expected ${Object.keys(devices).join(', ')}`,
  );
}

const cost = z.strictObject({ fixedMs: z.number().min(0), itemMs: z.number().positive() });
const deviceFile: z.ZodType<Device> = z.strictObject({
  source: z.string(),
  memoryGiB: z.number().positive(),
  costs: z.strictObject({
    vision: z.strictObject({ chexnet: cost, resnet101: cost, vit: cost }),
    labeler: cost,
    generator: z.strictObject({
      prefillMs: z.number().positive(),
      stepFixedMs: z.number().positive(),
      stepRowMs: z.number().min(0),
    }),
  }),
});

async function readDevice(file: string): Promise<Device> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw fileError(error, file);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw invalidArgument('COSTS_INVALID', file, 'is not JSON', { cause });
  }
  const parsed = deviceFile.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalidArgument(
    'COSTS_INVALID',
    [file, ...(issue?.path ?? [])].join('.'),
    issue?.message ?? '',
  );
}

const plainGrowth = ({ factor, rps, gpus, broken }: Growth) => ({
  factor,
  rps,
  gpus,
  broken: broken.map(({ limit: { what, most, unit, remedy }, use }) => ({
    what,
    most,
    unit,
    use,
    remedy,
  })),
});

const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 1000 ? 3 : 2)} s`;
const rounded = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : `${+value.toPrecision(2)}`;

function stageTable({ stages }: Plan): string {
  const rows = Object.entries(stages).map(([name, { replicas, load, p99Ms, memoryMiB }]) => [
    name,
    replicas,
    `${Math.round(load * 100)} %`,
    seconds(p99Ms),
    `${(memoryMiB / 1024).toFixed(1)} GiB`,
  ]);
  const head = ['stage', 'replicas', 'load', 'p99', 'memory'];
  return printTable([head, ...rows], { right: [1, 2, 3, 4] });
}

function describe(
  options: PlanOptions,
  device: Device,
  planned: Plan,
  grown: readonly Growth[],
): string {
  const { rps, variant, preset, gpu, costs } = options;
  const lines = [
    `${rps} reports/s of ${variant} (${preset}) on ${costs ?? gpu}: ${planned.gpus} devices`,
    `Costs: ${device.source}.`,
    '',
    stageTable(planned),
    `A report: p50 ${seconds(planned.p50Ms)}, p99 ${seconds(planned.p99Ms)}; its first token: p99 ${seconds(planned.firstTokenP99Ms)}`,
    'Memory holds two releases, for a switch or a canary. Have three replicas of each stage where one may fail.',
    '',
    'Network:',
    printTable(
      Object.entries(planned.hops).map(([hop, bytes]) => [
        hop,
        `${rounded(bytes / 1000)} kB`,
        `${rounded((bytes * rps) / 1e6)} MB/s`,
      ]),
      { indent: 2, right: [1, 2] },
    ),
    'What is in the way of more:',
    ...grown.flatMap(({ factor, rps: more, gpus, broken }) => [
      `  ${factor}x: ${rounded(more)} reports/s, ${rounded(gpus)} devices${broken.length === 0 ? ': nothing' : ''}`,
      ...broken.map(
        ({ limit, use }) =>
          `    ${limit.what}: ${rounded(use)} of ${rounded(limit.most)} ${limit.unit}; ${limit.remedy}`,
      ),
    ]),
  ];
  const tooLarge = Object.entries(planned.stages).filter(
    ([name, { memoryMiB }]) => name !== 'gateway' && memoryMiB > device.memoryGiB * 1024,
  );
  const { prefillMs, stepFixedMs, stepRowMs } = device.costs.generator;
  if (prefillMs > 10 * (stepFixedMs + stepRowMs))
    lines.push(
      '',
      'A prefill outlasts ten steps here, and the model then understates the p99, by up to 40 %.',
    );
  for (const [name] of tooLarge) lines.push('', `${name} does not fit ${device.memoryGiB} GiB.`);
  return `${lines.join('\n')}\n`;
}
