import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { DomainError } from '../../lib/errors.ts';
import { endWithParent } from '../../lib/parent.ts';
import { nameList } from '../args.ts';
import { startCluster } from './start.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

function port(text: string): number {
  const value = Number(text);
  // The other services use the next three.
  if (Number.isInteger(value) && value >= 1 && value <= 65_532) return value;
  throw new InvalidArgumentError('Expected a port from 1 to 65532.');
}

interface Options {
  readonly once?: true;
  readonly image: string;
  readonly store: string;
  readonly channels: readonly string[];
  readonly port: number;
  readonly metricsPort: number;
}

const program = new Command('npm start --')
  .description('Start the whole cluster on this machine and generate a first report.')
  .option('--once', 'stop after the report')
  .option('--image <file>', 'the image to send', here('sample.png'))
  .option('--store <place>', 'the release store', here('../../releases'))
  .option('--channels <names>', 'channels to serve, separated by commas', nameList, ['stable'])
  .option(
    '--port <n>',
    'gRPC port of the gateway; the model services use the next three',
    port,
    50_051,
  )
  .option(
    '--metrics-port <n>',
    'metrics port of the gateway; the same for the model services',
    port,
    9464,
  )
  .showHelpAfterError()
  .parse();

endWithParent();
const stop = new AbortController();
// A second signal ends us at once, and the services with us.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => stop.abort());
// The reader of the output is gone, such as `head`: nobody needs the cluster any more.
process.stdout.on('error', () => stop.abort());
const { once = false, ...options } = program.opts<Options>();
try {
  await startCluster({
    ...options,
    once,
    host: '127.0.0.1',
    env: process.env,
    print: (text) => process.stdout.write(text),
    signal: stop.signal,
  });
} catch (error) {
  if (!(error instanceof DomainError)) throw error;
  process.stderr.write(`start: ${error.message}\n`);
  process.exitCode = 1;
}
