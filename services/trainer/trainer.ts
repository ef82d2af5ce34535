import { setTimeout as sleep } from 'node:timers/promises';
import type { SplitName } from '../../lib/data/dataset.ts';
import { DomainError, invalidArgument } from '../../lib/errors.ts';
import { loadPreset } from '../../lib/models/preset.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import {
  type JsonObject,
  mergeConfigs,
  parseConfig,
  trainingPreset,
  type TrainingConfig,
} from '../../lib/training/config.ts';
import type { EvaluationResult } from '../../lib/training/evaluation/evaluate.ts';
import { evaluateRelease } from '../../lib/training/evaluation/release.ts';
import {
  type Run,
  type RunDatabase,
  type RunEvent,
  hasEnded,
} from '../../lib/training/database.ts';
import type { Runner } from './runs/runner.ts';

export interface TrainerOptions {
  readonly database: RunDatabase;
  readonly runner: Runner;
  readonly store: ReleaseStore;
  readonly cache: string;
  readonly threads: number;
  readonly gate: readonly string[];
}

export interface EvaluationAsk {
  readonly release: string;
  readonly data?: string;
  readonly split?: SplitName;
  readonly studies?: number;
  readonly signal: AbortSignal;
}

const pollMs = 250;

/** What the trainer service does; knows no gRPC. */
export class Trainer {
  readonly options: TrainerOptions;
  #isEvaluating = false;

  constructor(options: TrainerOptions) {
    this.options = options;
  }

  create(ask: { configJson: string; channel: string; requestId: string }): Run {
    if (ask.requestId.length > 128) {
      const message = `got ${ask.requestId.length} characters, at most 128 are taken`;
      throw invalidArgument('REQUEST_ID_INVALID', 'request_id', message);
    }
    const run = this.options.database.create({
      config: configOf(ask.configJson),
      store: this.options.store.url,
      channel: ask.channel === '' ? null : ask.channel,
      ...(ask.requestId !== '' && { requestId: ask.requestId }),
    });
    this.options.runner.wake();
    return run;
  }

  /** The events of a run, those that were and those that come, until it ends. */
  async *watch(id: string, after: number, signal: AbortSignal): AsyncGenerator<RunEvent> {
    const { database } = this.options;
    let last = after;
    for (;;) {
      const { state } = database.get(id);
      const events = database.events(id, last);
      for (const event of events) {
        yield event;
        last = event.sequence;
      }
      if (hasEnded(state) && events.length === 0) return;
      signal.throwIfAborted();
      await sleep(pollMs, undefined, { signal });
    }
  }

  async evaluate({
    release,
    data,
    split,
    studies,
    signal,
  }: EvaluationAsk): Promise<EvaluationResult> {
    if (this.#isEvaluating) {
      const message = 'another evaluation is under way; it takes all the cores';
      throw new DomainError('RESOURCE_EXHAUSTED', 'EVALUATION_BUSY', message);
    }
    this.#isEvaluating = true;
    try {
      const { store, cache, threads } = this.options;
      return await evaluateRelease({
        store,
        release,
        data,
        split,
        studies,
        cache,
        threads,
        signal,
      });
    } finally {
      this.#isEvaluating = false;
    }
  }
}

function configOf(text: string): TrainingConfig {
  let json: JsonObject;
  try {
    json = JSON.parse(text) as JsonObject;
  } catch (cause) {
    throw invalidArgument('CONFIG_INVALID', 'config_json', 'is not JSON', { cause });
  }
  const isObject = typeof json === 'object' && json !== null && !Array.isArray(json);
  if (!isObject) throw invalidArgument('CONFIG_INVALID', 'config_json', 'is not a JSON object');
  const config = parseConfig(
    mergeConfigs(trainingPreset(json['preset'], json['variant']), json),
    'config_json',
  );
  // A preset that is not there would be found out when the run starts, which may be tomorrow.
  loadPreset(config.preset);
  return config;
}
