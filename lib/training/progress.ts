/** What a run reports while it works. */
export interface Reporter {
  readonly progress: (progress: Progress) => void;
  readonly event: (
    kind: 'stage' | 'validation' | 'checkpoint' | 'warning' | 'evaluation',
    data: Readonly<Record<string, unknown>>,
  ) => void;
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

/** Of work that trains nothing. */
export const simpleProgress = (stage: string, step: number, totalSteps: number): Progress => ({
  stage,
  epoch: 0,
  epochs: 1,
  step,
  totalSteps,
  loss: null,
  learningRate: null,
  gradientNorm: null,
  studiesPerSecond: 0,
  tokensPerSecond: 0,
  etaSeconds: null,
});

export interface SampledProgress {
  readonly progress: (progress: Progress) => void;
  /** Passes on the newest progress if it was held back. */
  readonly flush: () => void;
}

/**
 * Passes on at most one progress in `everyMs`, and always the first and the last of each stage, however
 * short the stage is. Whoever uses it flushes it at the end.
 */
export function sampleProgress(
  show: (progress: Progress) => void,
  everyMs: number,
): SampledProgress {
  let shownAt = -Infinity;
  let stage: string | undefined;
  let held: Progress | undefined;
  const flush = (): void => {
    if (held) show(held);
    held = undefined;
  };
  return {
    progress(progress) {
      const now = performance.now();
      if (progress.stage === stage && now - shownAt < everyMs) {
        held = progress;
        return;
      }
      if (progress.stage !== stage) flush();
      held = undefined;
      [shownAt, stage] = [now, progress.stage];
      show(progress);
    },
    flush,
  };
}
