import { readConfig, settingsHelp } from '../../lib/config.ts';
import { DomainError } from '../../lib/errors.ts';
import { createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { start } from './server.ts';
import { settings } from './settings.ts';

if (process.argv.includes('--help')) {
  process.stdout.write(
    settingsHelp('The trainer of RadScribe: datasets in, releases out.', settings),
  );
  process.exit();
}

try {
  const config = readConfig(settings, process.env);
  const { logLevel, tracesEndpoint: endpoint } = config;
  const telemetry = createTelemetry({
    service: 'trainer',
    logLevel,
    endpoint,
    processMetrics: true,
  });
  const trainer = await start(config, telemetry);
  const { port, metricsPort } = trainer;
  telemetry.logger.info({ port, metricsPort }, 'listening');
  const stop = (signal: string): void => {
    telemetry.logger.info({ signal }, 'draining');
    void trainer
      .close()
      .then(() => telemetry.close())
      .then(() => process.exit());
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop);
} catch (error) {
  if (!(error instanceof DomainError)) throw error;
  process.stderr.write(`trainer: ${error.message}\n`);
  process.exit(1);
}
