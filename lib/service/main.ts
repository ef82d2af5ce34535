import {
  type Config,
  type Environment,
  type Settings,
  readConfig,
  settingsHelp,
} from './settings.ts';
import { DomainError } from '../errors.ts';
import { endWithParent } from '../parent.ts';
import type { LogLevel } from '../telemetry/logger.ts';
import { type Telemetry, createTelemetry } from '../telemetry/telemetry.ts';
import { growHeapBeforeCollecting } from './heap.ts';

interface Common {
  readonly logLevel: LogLevel;
  readonly tracesEndpoint: string | undefined;
  readonly tracesRatio: number;
}

export interface Program<Table extends Settings> {
  /** e.g. `vision`. */
  readonly name: string;
  /** One sentence for `--help`. */
  readonly title: string;
  readonly settings: Table;
  /** Its requests hold images. */
  readonly receivesImages?: boolean;
  readonly start: (
    config: Config<Table>,
    telemetry: Telemetry,
  ) => Promise<{ readonly port: number; readonly metricsPort: number; close(): Promise<void> }>;
}

/**
 * Runs a service as a process: `--help` prints its settings; SIGTERM and SIGINT drain it, and it exits
 * with 0; a setting or a store that it cannot start with is one line on stderr, and it exits with 1. It
 * dies with a parent that gave it an IPC channel.
 */
export async function runProgram<Table extends Settings>(
  { name, title, settings, receivesImages = false, start }: Program<Table>,
  { argv, env }: { readonly argv: readonly string[]; readonly env: Environment },
): Promise<void> {
  endWithParent();
  if (argv.includes('--help')) {
    process.stdout.write(settingsHelp(title, settings));
    return;
  }
  try {
    const config = readConfig(settings, env);
    if (receivesImages) growHeapBeforeCollecting();
    const { logLevel, tracesEndpoint, tracesRatio } = config as unknown as Common;
    const telemetry = createTelemetry({
      service: name,
      logLevel,
      endpoint: tracesEndpoint,
      sampleRatio: tracesRatio,
      processMetrics: true,
    });
    const service = await start(config, telemetry);
    const { port, metricsPort } = service;
    telemetry.logger.info({ port, metricsPort }, 'listening');
    const stop = (signal: string): void => {
      telemetry.logger.info({ signal }, 'draining');
      void service
        .close()
        .then(() => telemetry.close())
        .then(() => process.exit());
    };
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop);
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    // Handles that were opened before the failure would keep the process alive.
    process.stderr.write(`${name}: ${error.message}\n`, () => process.exit(1));
  }
}
