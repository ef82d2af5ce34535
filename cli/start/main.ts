import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { DomainError } from '../../lib/errors.ts';
import { endWithParent } from '../../lib/parent.ts';
import { startCluster } from './start.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

function port(text: string): number {
  const value = Number(text);
  // The other services take the three that follow.
  if (Number.isInteger(value) && value >= 1 && value <= 65_532) return value;
  throw new InvalidArgumentError('expected a port from 1 to 65532');
}

const list = (text: string): readonly string[] => text.split(',').filter((item) => item !== '');

interface Options {
  readonly once?: true;
  readonly image: string;
  readonly store: string;
  readonly channels: readonly string[];
  readonly port: number;
  readonly metricsPort: number;
}

const program = new Command('npm start --')
  .description('Start the whole cluster on this machine and write a first report.')
  .option('--once', 'end after the report')
  .option('--image <file>', 'the radiograph to send', here('sample.png'))
  .option('--store <place>', 'the release store', here('../../releases'))
  .option('--channels <names>', 'channels to serve, separated by commas', list, ['stable'])
  .option('--port <n>', 'gRPC port of the gateway; the models take the next three', port, 50_051)
  .option('--metrics-port <n>', 'metrics port of the gateway; the models likewise', port, 9464)
  .showHelpAfterError()
  .parse();

endWithParent();
const stop = new AbortController();
// A second signal ends us at once, and the services with us.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => stop.abort());
// Whoever read what is printed has gone, as `head` does: nobody is served any more.
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
