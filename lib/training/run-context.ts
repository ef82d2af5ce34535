import type { Tracer } from '@opentelemetry/api';
import type { Tensor } from '../graph/types.ts';
import type { Preset } from '../models/preset.ts';
import type { Backend } from '../runtime/backend.ts';
import type { RunCheckpoints } from './checkpoint.ts';
import type { TrainingConfig } from './config.ts';
import type { Prepared } from './data/prepared.ts';
import type { Texts } from './data/texts.ts';
import type { Journal } from './journal.ts';
import type { Reporter } from './progress.ts';

export type Parameters = ReadonlyMap<string, Tensor>;

/** What a run is made of, for its stages. */
export interface RunContext {
  /** The run's folder. */
  readonly folder: string;
  readonly config: TrainingConfig;
  readonly preset: Preset;
  readonly prepared: Prepared;
  readonly texts: Texts;
  readonly backend: Backend;
  readonly checkpoints: RunCheckpoints;
  readonly journal: Journal;
  readonly reporter: Reporter;
  readonly tracer: Tracer;
  /** Fires to stop after the step under way, with a checkpoint. */
  readonly signal: AbortSignal;
  /** Called between steps. Throws where the run was cancelled, or another trainer has it. */
  readonly check: () => void;
}
