import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { DomainError } from '../errors.ts';
import { standardGate } from '../releases/gate.ts';
import type { ReleaseStore } from '../releases/store/store.ts';
import { openStore } from '../releases/store/open.ts';
import { completeRelease } from '../releases/write.ts';
import { writing } from './data/disk.ts';
import { tokenizerFiles } from './data/texts.ts';
import type { Run } from './database.ts';
import type { Decides } from './evaluation/evaluate.ts';
import type { Tables } from './evaluation/tables.ts';
import type { RunContext } from './run-context.ts';

export interface PublishOptions {
  readonly run: Run;
  readonly context: RunContext;
  /** Holds the models that were evaluated; becomes the release. */
  readonly folder: string;
  readonly release: Decides;
  readonly tables: Tables;
  readonly command: string | undefined;
  /** Metrics in which the release may not be worse than the one of its channel. Default: standardGate. */
  readonly gate?: readonly string[] | undefined;
  /** Called once the release is in the store, before its channel moves. */
  readonly onStored: (published: Published) => void;
}

export interface Published {
  readonly id: string;
  /** URL of the store that holds it. */
  readonly store: string;
}

/**
 * Makes a release of a run's models, stores it in the store of the run (default: the run's folder
 * itself), and promotes it to the run's channel. Throws RELEASE_WORSE where the gate refuses that; the
 * release stays in the store.
 */
export async function publish(options: PublishOptions): Promise<void> {
  const { run, context, folder, gate = standardGate, onStored } = options;
  const { id } = await writing(folder, () => complete(options));
  const store = openStore(run.store ?? context.folder);
  try {
    await store.publish(folder, { signal: context.signal });
    onStored({ id, store: store.url });
    if (run.channel === null) return;
    const by = run.id;
    await store
      .promote(run.channel, id, { gate, by, signal: context.signal })
      .catch((error: unknown) => {
        throw explain(error, id, run.channel ?? '', store);
      });
  } finally {
    store.close();
  }
}

function explain(error: unknown, id: string, channel: string, { url }: ReleaseStore): unknown {
  if (!(error instanceof DomainError) || error.reason !== 'RELEASE_WORSE') return error;
  const { code, reason, message, field, metadata } = error;
  const command = `radscribe releases promote ${channel} ${id} --store ${url} --force`;
  const text = `${message}. Release ${id} is stored in ${url}; to promote it all the same: ${command}`;
  return new DomainError(code, reason, text, { ...(field && { field }), metadata, cause: error });
}

async function complete({ run, context, folder, release, tables, command }: PublishOptions) {
  const { config, preset, prepared } = context;
  const { train, validate, test } = prepared.splits;
  const readJson = async (name: string): Promise<unknown> =>
    JSON.parse(await readFile(join(context.folder, name), 'utf8'));
  const last = await context.checkpoints.loadLast(() => {});
  const elapsedMs = last?.position.elapsedMs ?? 0;
  return completeRelease(folder, {
    ...release,
    variant: config.variant,
    preset,
    quantization: 'none',
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
  });
}
