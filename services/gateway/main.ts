import { readConfig, settingsHelp } from '../../lib/config.ts';
import { DomainError } from '../../lib/errors.ts';
import { createTelemetry } from '../../lib/telemetry/telemetry.ts';
import { settings } from './config.ts';
import { start } from './server.ts';

if (process.argv.includes('--help')) {
  process.stdout.write(
    settingsHelp('The gateway of RadScribe: radiographs in, reports out.', settings),
  );
  process.exit();
}

try {
  const config = readConfig(settings, process.env);
  const { logLevel, tracesEndpoint: endpoint } = config;
  const telemetry = createTelemetry({
    service: 'gateway',
    logLevel,
    endpoint,
    processMetrics: true,
  });
  const gateway = await start(config, telemetry);
  const { port, metricsPort } = gateway;
  telemetry.logger.info({ port, metricsPort }, 'listening');
  const stop = (signal: string): void => {
    telemetry.logger.info({ signal }, 'draining');
    void gateway
      .close()
      .then(() => telemetry.close())
      .then(() => process.exit());
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop);
} catch (error) {
  if (!(error instanceof DomainError)) throw error;
  process.stderr.write(`gateway: ${error.message}\n`);
  process.exit(1);
}
