import { type Progress, type Reporter, sampleProgress } from '../lib/training/progress.ts';

/** Shows progress: on a terminal as one line that changes, elsewhere as a line every few seconds. */
export interface ProgressDisplay {
  readonly show: (progress: Progress) => void;
  /** Prints a line that stays. */
  readonly print: (line: string) => void;
  readonly close: () => void;
}

/** Reports a run on a display; checkpoints are too many to be shown. */
export const reporterOn = (display: ProgressDisplay): Reporter => ({
  progress: display.show,
  event: (kind, data) => {
    if (kind !== 'checkpoint') display.print(`${kind}: ${printFacts(data)}`);
  },
});

/** `name value` of what is neither list nor object, e.g. `stage labels, loss 0.5132`. */
export function printFacts(data: Readonly<Record<string, unknown>>): string {
  const print = (value: unknown): string =>
    typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(4) : String(value);
  return Object.entries(data)
    .filter(([, value]) => typeof value !== 'object')
    .map(([name, value]) => `${name} ${print(value)}`)
    .join(', ');
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
    // A longer line would wrap, and only its last part could be erased.
    stream.write(`\r\x1b[2K${line.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}`);
  };
  return {
    show(progress) {
      const share = progress.totalSteps > 0 ? progress.step / progress.totalSteps : 0;
      const filled = Math.round(Math.min(1, share) * barWidth);
      draw(`[${'='.repeat(filled)}${' '.repeat(barWidth - filled)}] ${describeProgress(progress)}`);
    },
    print(line) {
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
  const print = (line: string): void => void stream.write(`${line}\n`);
  const { progress, flush } = sampleProgress((each) => print(describeProgress(each)), lineEveryMs);
  return { show: progress, print, close: flush };
}
