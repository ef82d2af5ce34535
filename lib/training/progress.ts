import type { Progress } from './run-context.ts';

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

/** Where progress is shown: a terminal gets one line that changes, anything else a line at times. */
export interface ProgressDisplay {
  show(progress: Progress): void;
  /** A line that stays. */
  say(line: string): void;
  close(): void;
}

/** Seconds as `1h02m`, `3m20s` or `45s`. */
export function printDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const pad = (value: number): string => `${value}`.padStart(2, '0');
  if (hours > 0) return `${hours}h${pad(minutes)}m`;
  return minutes > 0 ? `${minutes}m${pad(whole % 60)}s` : `${whole}s`;
}

/** e.g. `stage1 3/8 | step 120/800 | loss 1.234 | 80 studies/s | 9.1k tokens/s | 2m05s left` */
function describeProgress(progress: Progress): string {
  const { stage, epoch, epochs, step, totalSteps, loss, studiesPerSecond, tokensPerSecond } =
    progress;
  const { etaSeconds } = progress;
  const epochOf = epochs > 1 ? ` epoch ${Math.min(epoch + 1, epochs)}/${epochs}` : '';
  return [
    `${stage}${epochOf}`,
    `${loss === null ? 'study' : 'step'} ${step}/${totalSteps}`,
    ...(loss === null ? [] : [`loss ${loss.toFixed(4)}`]),
    ...(studiesPerSecond > 0 ? [`${studiesPerSecond.toFixed(1)} studies/s`] : []),
    ...(tokensPerSecond > 0 ? [`${(tokensPerSecond / 1000).toFixed(1)}k tokens/s`] : []),
    ...(etaSeconds === null ? [] : [`${printDuration(etaSeconds)} left`]),
  ].join(' | ');
}

export function createDisplay(stream: NodeJS.WriteStream): ProgressDisplay {
  return stream.isTTY ? terminal(stream) : plainLines(stream);
}

const barWidth = 24;

function terminal(stream: NodeJS.WriteStream): ProgressDisplay {
  let last = '';
  const draw = (line: string): void => {
    last = line;
    // Longer lines would wrap, and wrapped ones are not taken back.
    stream.write(`\r\x1b[2K${line.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}`);
  };
  return {
    show(progress) {
      const share = progress.totalSteps > 0 ? progress.step / progress.totalSteps : 0;
      const filled = Math.round(Math.min(1, share) * barWidth);
      draw(`[${'='.repeat(filled)}${' '.repeat(barWidth - filled)}] ${describeProgress(progress)}`);
    },
    say(line) {
      stream.write(`\r\x1b[2K${line}\n`);
      if (last !== '') draw(last);
    },
    close() {
      if (last !== '') stream.write('\r\x1b[2K');
      last = '';
    },
  };
}

/** At most one line in so many milliseconds. */
const lineEveryMs = 5000;

function plainLines(stream: NodeJS.WriteStream): ProgressDisplay {
  let shownAt = -Infinity;
  let stage = '';
  return {
    show(progress) {
      const now = performance.now();
      if (progress.stage === stage && now - shownAt < lineEveryMs) return;
      [shownAt, stage] = [now, progress.stage];
      stream.write(`${describeProgress(progress)}\n`);
    },
    say(line) {
      stream.write(`${line}\n`);
    },
    close() {},
  };
}
