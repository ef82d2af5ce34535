import type { GenerateReportResponse, Label, StageTiming } from '../../lib/rpc/messages.ts';

const width = 88;
const labelCells = 24;
const timeCells = 50;

/** A report as people read it: labels, text, and where the time went. */
export function printReport(response: GenerateReportResponse): string {
  const { report, labels, warnings, timings, tokens, variant, release } = response;
  const sections = [
    ['Findings', report?.findings ?? ''],
    ['Impression', report?.impression ?? ''],
  ].filter(([, text]) => text !== '');
  return [
    `Labels by ${variant}, release ${release}\n`,
    labels.map(labelLine).join(''),
    ...sections.map(([name, text = '']) => `\n${name}\n${wrap(text)}`),
    ...warnings.map(({ code, message }) => `\nWarning ${code}: ${message}\n`),
    `\nTimeline in ms; ${tokens?.generated ?? 0} tokens written\n`,
    timeline(timings),
  ].join('');
}

function labelLine({ name, probability, threshold, state }: Label): string {
  const filled = Math.round(probability * labelCells);
  const mark = Math.min(labelCells - 1, Math.floor(threshold * labelCells));
  const bar = '█'.repeat(filled).padEnd(labelCells, '·').split('');
  bar[mark] = '|';
  const said = state === 'LABEL_STATE_POSITIVE' ? ' positive' : '';
  return `  ${name.padEnd(28)}${probability.toFixed(2)}  ${bar.join('')}${said}\n`;
}

/** Services with the parts of their work below them, on one axis. */
function timeline(timings: readonly StageTiming[]): string {
  const endMs = Math.max(1, ...timings.map(({ startMs, durationMs }) => startMs + durationMs));
  const cells = (ms: number): number => Math.round((ms / endMs) * timeCells);
  return timings
    .map(({ stage, startMs, durationMs }) => {
      const [service, part] = stage.split('.');
      const name = part === undefined ? `  ${service}` : `    ${part}`;
      const bar = ' '.repeat(cells(startMs)) + ('█'.repeat(cells(durationMs)) || '▏');
      return `${name.padEnd(20)}${durationMs.toFixed(1).padStart(8)}  ${bar}\n`;
    })
    .join('');
}

/** Words in lines of `width` characters. */
export function wrap(text: string): string {
  const lines = [''];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > width - 2) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map((line) => `  ${line}\n`).join('');
}
