import { readFile } from 'node:fs/promises';
import { readConfig, type Settings } from '../lib/service/settings.ts';

/**
 * The image's health check: asks the service that is the container's first process whether it is ready.
 * An argument names another service.
 */
const command = await readFile('/proc/1/cmdline', 'utf8').catch(() => '');
const service = process.argv[2] ?? /services\/([a-z]+)\/main\.ts/.exec(command)?.[1];
if (service === undefined) throw new Error('process 1 is not a service of RadScribe');
const { settings } = (await import(`../services/${service}/config.ts`)) as { settings: Settings };
const { metricsPort } = readConfig(settings, process.env);
const { ok, status } = await fetch(`http://127.0.0.1:${String(metricsPort)}/readyz`);
if (!ok) throw new Error(`${service} is not ready: ${status}`);
