import { type Command, Option } from 'commander';
import { variantNames } from '../../lib/models/variants.ts';
import type { GenerateReportResponse } from '../../lib/rpc/messages.ts';
import { type ConnectionFlags, connectionOptions } from '../client.ts';
import { findImages } from '../images.ts';
import { type Reported, requestReports } from '../report-client.ts';

interface ReportOptions extends ConnectionFlags {
  readonly address: string;
  readonly json?: true;
  readonly study?: true;
  readonly indication?: string;
  readonly variant?: string;
  readonly release?: string;
  readonly channel?: string;
}

/** `radscribe report IMAGE...`: reports of images, from a running gateway. */
export function registerReport(program: Command): void {
  connectionOptions(program.command('report'))
    .description('send radiographs to a running gateway and print their reports')
    .argument('<image...>', 'JPEG, PNG, TIFF or DICOM files, or folders of them')
    .option('--address <host:port>', 'of the gateway', '127.0.0.1:50051')
    .option('--json', 'print JSON, one line per study')
    .option('--study', 'all images are views of one study; default: each is a study of its own')
    .option('--indication <text>', 'clinical indication of the study')
    .addOption(new Option('--variant <name>', 'variant to use').choices([...variantNames]))
    .option('--release <id>', 'release to use')
    .option('--channel <name>', 'channel to use')
    .addHelpText('after', '\nExit code 1 if any study got no report.')
    .action(report);
}

async function report(paths: readonly string[], options: ReportOptions): Promise<void> {
  const { address, json, study, indication = '' } = options;
  const files = await findImages(paths);
  const studies = study ? [files] : files.map((file) => [file]);
  const { release, channel, variant } = options;
  const target = { release, channel, variant };
  const given = Object.fromEntries(Object.entries(target).filter(([, value]) => value));
  const bar = progressBar(process.stderr, studies.length);
  let failed = 0;
  const request = { indication, includeLabels: true, ...given };
  const print = (reported: Reported): void => {
    if ('error' in reported) failed += 1;
    bar.clear();
    process.stdout.write(json ? `${JSON.stringify(asJson(reported))}\n` : asText(reported));
    bar.advance(failed);
  };
  try {
    await requestReports(studies, { address, connection: options, request }, print);
  } finally {
    bar.clear();
  }
  if (failed > 0) process.exitCode = 1;
}

const positives = ({ labels }: GenerateReportResponse): readonly string[] =>
  labels.filter(({ state }) => state === 'LABEL_STATE_POSITIVE').map(({ name }) => name);

function asJson(reported: Reported): object {
  const { files } = reported;
  if ('error' in reported) {
    const { code, reason, field, message } = reported.error;
    return { files, error: { code, reason, field, message } };
  }
  const { report, labels, release, variant, warnings, timings, tokens } = reported.report;
  return {
    files,
    findings: report?.findings ?? '',
    impression: report?.impression ?? '',
    labels: Object.fromEntries(
      labels.map(({ name, probability, state }) => [
        name,
        { probability, positive: state === 'LABEL_STATE_POSITIVE' },
      ]),
    ),
    release,
    variant,
    warnings,
    timings,
    tokens,
  };
}

function asText(reported: Reported): string {
  const title = `${reported.files.join(' ')}\n`;
  if ('error' in reported) return `${title}  failed: ${reported.error.message}\n\n`;
  const { report, warnings } = reported.report;
  const lines = [
    ['labels', positives(reported.report).join(', ') || 'none positive'],
    ['findings', report?.findings],
    ['impression', report?.impression],
    ...warnings.map(({ message }) => ['warning', message]),
  ];
  const body = lines.flatMap(([name, text]) => (text ? [`  ${name}: ${text}\n`] : []));
  return `${title}${body.join('')}\n`;
}

const barWidth = 24;

/** A progress bar, on a terminal and for more than one study. */
function progressBar(stream: NodeJS.WriteStream, count: number) {
  const isShown = stream.isTTY && count > 1;
  let done = 0;
  const draw = (failed: number): void => {
    const filled = Math.round((done / count) * barWidth);
    const bar = '='.repeat(filled).padEnd(barWidth);
    const failures = failed > 0 ? `, ${failed} failed` : '';
    if (isShown) stream.write(`[${bar}] ${done}/${count} studies${failures}`);
  };
  draw(0);
  return {
    advance: (failed: number): void => {
      done += 1;
      draw(failed);
    },
    clear: (): void => {
      if (isShown) stream.write('\r\x1b[2K');
    },
  };
}
