/** Miniature training runs: a model of a few thousand numbers on a few phantom studies. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { JsonObject } from '../../lib/training/config.ts';

const preset = {
  name: 'miniature',
  imageSize: 32,
  densenet: { growth: 4, blocks: [1, 1, 1, 1], initial: 8, bottleneck: 2 },
  resnet: { layers: [1, 1, 1, 1], width: 4 },
  vit: { hidden: 16, layers: 1, heads: 2, intermediate: 16, patch: 8, poolGrid: 2 },
  fusion: {
    hidden: 16,
    layers: 1,
    heads: 2,
    intermediate: 16,
    vocabulary: 256,
    positions: 48,
    labelLayers: 1,
    cls: 2,
    sep: 3,
  },
  t5: {
    dModel: 16,
    dKv: 8,
    heads: 2,
    dFf: 16,
    layers: 1,
    vocabulary: 256,
    buckets: 8,
    maxDistance: 32,
  },
  imageSample: 1,
  maxTextTokens: 32,
  maxReportTokens: 48,
};

const schedule = { peak: 1e-3, floor: 1e-4 };

/** Four stages of a few steps each, with validation, generation and checkpoints in between. */
const config: JsonObject = {
  variant: 'vit-label',
  data: 'phantom:40?size=32',
  threads: 1,
  precision: 'float32',
  batch: { size: 2, accumulation: 2 },
  labels: { epochs: 2, learningRate: schedule, trainVision: true, refitEpochs: 1 },
  stage1: { epochs: 1, learningRate: schedule },
  stage2: { epochs: 2, encoderRate: schedule, decoderRate: schedule, labelLoss: 0.5 },
  validation: { generatedStudies: 2, generateEvery: 2 },
  checkpoints: { everySteps: 3, keep: 2 },
  stepsPerRun: 2,
  evaluation: { studies: 2 },
};

export interface Mini {
  readonly root: string;
  readonly runs: string;
  /** Path of a config file with these changes. */
  config(changes?: JsonObject): Promise<string>;
  /** Runs `radscribe` with `--runs` and `--cache` of this folder, as far as the command takes them. */
  start(...args: readonly string[]): Started;
}

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<{
    readonly code: number | null;
    readonly out: string;
    readonly err: string;
  }>;
}

const cli = resolve(import.meta.dirname, '../../cli/main.ts');

export async function mini(t: ExecutionContext): Promise<Mini> {
  const root = await mkdtemp(join(tmpdir(), 'radscribe-train-'));
  const children = new Set<ChildProcess>();
  t.teardown(async () => {
    for (const child of children) child.kill('SIGKILL');
    await rm(root, { recursive: true, force: true, maxRetries: 3 });
  });
  const presetPath = join(root, 'preset.json');
  await writeFile(presetPath, JSON.stringify(preset));
  let count = 0;
  const runs = join(root, 'runs');
  return {
    root,
    runs,
    config: async (changes = {}) => {
      const path = join(root, `config-${++count}.json`);
      await writeFile(path, JSON.stringify({ ...config, preset: presetPath, ...changes }));
      return path;
    },
    start: (...args) => {
      const places = [
        ...(args[0] === 'evaluate' ? [] : ['--runs', runs]),
        ...(args[0] === 'runs' ? [] : ['--cache', join(root, 'cache')]),
      ];
      const child = spawn(process.execPath, [cli, ...args, ...places], {
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      });
      children.add(child);
      const ended = collect(child).finally(() => children.delete(child));
      return { child, ended };
    },
  };
}

async function collect(child: ChildProcess) {
  let [out, err] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text));
  const code = await new Promise<number | null>((done) => child.on('close', done));
  return { code, out, err };
}
