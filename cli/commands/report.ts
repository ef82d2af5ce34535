import { type Command, Option } from 'commander';
import { variantNames } from '../../lib/models/variants.ts';
import type { GenerateReportResponse } from '../../lib/rpc/messages.ts';
import { findPictures } from '../images.ts';
import { type Reported, requestReports } from '../report-client.ts';

interface ReportOptions {
  readonly address: string;
  readonly json?: true;
  readonly study?: true;
  readonly indication?: string;
  readonly variant?: string;
  readonly release?: string;
  readonly channel?: string;
  readonly token?: string;
  readonly tlsCa?: string;
}

/** `radscribe report IMAGE...`: the reports of pictures, from a running gateway. */
export function registerReport(program: Command): void {
  program
    .command('report')
    .description('send radiographs to a running gateway and print their reports')
    .argument('<image...>', 'JPEG, PNG, TIFF or DICOM files, or folders of them')
    .option('--address <host:port>', 'of the gateway', '127.0.0.1:50051')
    .option('--json', 'print JSON, a line a study')
    .option('--study', 'the pictures are views of one study, instead of a study each')
    .option('--indication <text>', 'why the study was made')
    .addOption(new Option('--variant <name>', 'which model answers').choices([...variantNames]))
    .option('--release <id>', 'which release answers')
    .option('--channel <name>', 'which channel answers')
    .addOption(new Option('--token <token>', 'bearer token for the gateway').env('RADSCRIBE_TOKEN'))
    .option('--tls-ca <file>', 'who signed the certificate of the gateway, PEM')
    .addHelpText('after', '\nExit code 1 where a study got no report.')
    .action(report);
}

async function report(paths: readonly string[], options: ReportOptions): Promise<void> {
  const { address, json, study, indication = '', token, tlsCa } = options;
  const files = await findPictures(paths);
  const studies = study ? [files] : files.map((file) => [file]);
  const { release, channel, variant } = options;
  const target = { release, channel, variant };
  const given = Object.fromEntries(Object.entries(target).filter(([, value]) => value));
  const bar = progressBar(process.stderr, studies.length);
  let failed = 0;
  const answers = requestReports(studies, {
    address,
    token,
    tls: { ca: tlsCa },
    request: { indication, includeLabels: true, ...given },
  });
  try {
    for await (const reported of answers) {
      if ('error' in reported) failed += 1;
      bar.clear();
      process.stdout.write(json ? `${JSON.stringify(asJson(reported))}\n` : asText(reported));
      bar.advance(failed);
    }
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

/** One line that changes, on a terminal and for more than one study; else nothing. */
function progressBar(stream: NodeJS.WriteStream, count: number) {
  const shown = stream.isTTY && count > 1;
  let done = 0;
  const draw = (failed: number): void => {
    const filled = Math.round((done / count) * barWidth);
    const bar = '='.repeat(filled).padEnd(barWidth);
    const failures = failed > 0 ? `, ${failed} failed` : '';
    if (shown) stream.write(`[${bar}] ${done}/${count} studies${failures}`);
  };
  draw(0);
  return {
    advance: (failed: number): void => {
      done += 1;
      draw(failed);
    },
    clear: (): void => {
      if (shown) stream.write('\r\x1b[2K');
    },
  };
}
