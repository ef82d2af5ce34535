import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SplitName } from '../../data/dataset.ts';
import { createBackend } from '../../runtime/backend.ts';
import type { Manifest } from '../../releases/manifest.ts';
import type { OpenedRelease, ReleaseStore } from '../../releases/store/store.ts';
import { parseConfig } from '../config.ts';
import { openDataset } from '../data/open.ts';
import { prepareDataset } from '../data/prepared.ts';
import { loadTexts } from '../data/texts.ts';
import { type EvaluateOptions, type EvaluationResult, evaluate } from './evaluate.ts';

export interface EvaluationRequest {
  /** Place of the dataset. Default: that of its training. */
  readonly data?: string | undefined;
  readonly split?: SplitName | undefined;
  readonly studies?: number | undefined;
  readonly samples?: number | undefined;
  readonly threads?: number | undefined;
  readonly cache: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

export interface EvaluateReleaseOptions extends EvaluationRequest {
  readonly store: ReleaseStore;
  readonly release: string;
}

/** Evaluates a release of a store again, as it is served. */
export async function evaluateRelease(
  options: EvaluateReleaseOptions,
): Promise<EvaluationResult & { readonly manifest: Manifest }> {
  const { store, release, signal } = options;
  const opened = await store.open(release, { signal });
  const result = await withStudies(opened, options, evaluate);
  return { ...result, manifest: opened.manifest };
}

/** Runs `work` with what evaluates a release: an engine and the studies of a dataset, closed afterwards. */
export async function withStudies<T>(
  { manifest, folder }: OpenedRelease,
  options: EvaluationRequest,
  work: (context: EvaluateOptions) => Promise<T>,
): Promise<T> {
  const { cache, signal, onProgress, threads = 0 } = options;
  const own = parseConfig(manifest.provenance.config, `release ${manifest.id} provenance.config`);
  const config = options.data === undefined ? own : { ...own, data: options.data };
  const scratch = await mkdtemp(join(tmpdir(), 'radscribe-evaluate-'));
  const intraOpThreads = threads === 0 ? availableParallelism() : threads;
  await using resources = new AsyncDisposableStack();
  resources.defer(() => rm(scratch, { recursive: true, force: true }));
  const dataset = resources.adopt(await openDataset(config.data), (opened) => opened.close());
  const prepared = resources.adopt(
    await prepareDataset(dataset, {
      preprocessing: manifest.preprocessing,
      limits: config.studies,
      seed: config.seed,
      cache,
      onProgress: (done, total) => onProgress?.('prepare', done, total),
      ...(signal && { signal }),
    }),
    (opened) => opened.close(),
  );
  const backend = resources.adopt(await createBackend({ intraOpThreads }), (made) =>
    made.dispose(),
  );
  return await work({
    backend,
    folder,
    release: manifest,
    scratch,
    config,
    preset: manifest.preset,
    prepared,
    texts: loadTexts(folder, config, manifest.preset),
    split: options.split ?? config.evaluation.split,
    studies: options.studies ?? config.evaluation.studies,
    samples: options.samples ?? 1000,
    ...(signal && { signal }),
    ...(onProgress && { onProgress }),
  });
}
