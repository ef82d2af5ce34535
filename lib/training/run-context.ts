import type { Tracer } from '@opentelemetry/api';
import type { Tensor } from '../graph/types.ts';
import type { Preset } from '../models/preset.ts';
import type { Backend } from '../runtime/backend.ts';
import type { Checkpoints } from './checkpoint.ts';
import type { TrainingConfig } from './config.ts';
import type { Prepared } from './data/prepared.ts';
import type { Texts } from './data/texts.ts';
import type { Journal } from './journal.ts';

export type Parameters = ReadonlyMap<string, Tensor>;

/** What training tells while it works. */
export interface Reporter {
  progress(progress: Progress): void;
  event(
    kind: 'stage' | 'validation' | 'checkpoint' | 'warning' | 'evaluation',
    data: Readonly<Record<string, unknown>>,
  ): void;
}

export interface Progress {
  /** `prepare` and `features` come before and between the stages. */
  readonly stage: string;
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly totalSteps: number;
  readonly loss: number | null;
  readonly learningRate: number | null;
  readonly gradientNorm: number | null;
  readonly studiesPerSecond: number;
  readonly tokensPerSecond: number;
  /** Of mixed precision. */
  readonly lossScale?: number;
  /** Share of the machine's processor time that this process took, 0 to 1. */
  readonly cpuUtilization?: number;
  /** Of the stage. */
  readonly etaSeconds: number | null;
}

/** What a run is made of, for its stages. */
export interface RunContext {
  /** The run's folder. */
  readonly folder: string;
  readonly config: TrainingConfig;
  readonly preset: Preset;
  readonly prepared: Prepared;
  readonly texts: Texts;
  readonly backend: Backend;
  readonly checkpoints: Checkpoints;
  readonly journal: Journal;
  readonly reporter: Reporter;
  readonly tracer: Tracer;
  /** Fires to stop after the step under way, with a checkpoint. */
  readonly signal: AbortSignal;
  /** Called between steps; throws where the run may not go on here. */
  readonly check: () => void;
}
