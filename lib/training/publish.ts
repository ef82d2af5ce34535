import { randomUUID } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { variantParameters } from '../models/variants.ts';
import { writeRelease } from '../releases/write.ts';
import { openStore } from '../releases/store/open.ts';
import type { Tensor } from '../graph/types.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { decodingOf } from './config.ts';
import { tokenizerFiles } from './data/texts.ts';
import { writing } from './data/disk.ts';
import type { Tables } from './evaluation/tables.ts';
import type { Run } from './database.ts';
import type { RunContext } from './run-context.ts';
import type { Trained } from './train.ts';

export interface PublishOptions {
  readonly run: Run;
  readonly context: RunContext;
  readonly trained: Trained;
  readonly tables: Tables;
  readonly command: string | undefined;
}

export interface Published {
  readonly id: string;
  /** URL of the store that holds it. */
  readonly store: string;
}

/** Writes the release of a trained run into its folder, and into the store that the run names. */
export async function publish(options: PublishOptions): Promise<Published> {
  const { run, context } = options;
  const temporary = join(context.folder, `release.${randomUUID()}.tmp`);
  try {
    const manifest = await writing(temporary, () => write(temporary, options));
    return await deliver(run, context, temporary, manifest.id);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function write(folder: string, { run, context, trained, tables, command }: PublishOptions) {
  const { config, preset, prepared } = context;
  const { train, validate, test } = prepared.splits;
  const readJson = async (name: string): Promise<unknown> =>
    JSON.parse(await readFile(join(context.folder, name), 'utf8'));
  const last = await context.checkpoints.loadLast(() => {});
  const elapsedMs = last?.position.elapsedMs ?? 0;
  return writeRelease(folder, {
    variant: config.variant,
    preset,
    preprocessing: { ...config.preprocessing, height: preset.imageSize, width: preset.imageSize },
    labels: trained.calibration,
    outOfDistribution: trained.distribution,
    decoding: decodingOf(config, preset.maxReportTokens),
    quantisation: 'none',
    provenance: {
      createdAt: run.createdAt,
      dataset: {
        name: prepared.name,
        fingerprint: prepared.fingerprint,
        studies: { train: train.length, validate: validate.length, test: test.length },
      },
      config: JSON.parse(JSON.stringify(config)) as Record<string, never>,
      codeVersion: packageJson.version,
      parent: config.parent,
      seed: config.seed,
      durationS: Math.round(elapsedMs / 1000),
      ...(command !== undefined && { command }),
    },
    evaluation: tables,
    tokenizers: {
      encoder: await readJson(tokenizerFiles.encoder),
      decoder: await readJson(tokenizerFiles.decoder),
    },
    tensors: variantParameters(config.variant, preset).map(({ name }) => {
      const { dtype, shape, data } = trained.parameters.get(name) as Tensor;
      return { name, dtype, shape, data };
    }),
  });
}

/** Without a store, the folder of the run is one. */
async function deliver(
  run: Run,
  context: RunContext,
  temporary: string,
  id: string,
): Promise<Published> {
  const store = openStore(run.store ?? context.folder);
  try {
    await store.publish(temporary, { signal: context.signal });
    if (run.channel !== null) await store.promote(run.channel, id, { by: run.id });
    return { id, store: store.url };
  } finally {
    store.close();
  }
}
