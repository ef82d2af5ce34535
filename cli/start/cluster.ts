import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../../lib/errors.ts';
import { Child } from './child.ts';

/** The services of the chain, in the order in which they are started. */
export const serviceNames = ['vision', 'labeler', 'generator', 'gateway'] as const;
export type ServiceName = (typeof serviceNames)[number];

export interface ClusterOptions {
  readonly host: string;
  readonly ports: Readonly<
    Record<ServiceName, { readonly grpc: number; readonly metrics: number }>
  >;
  /** The environment of every service, without the settings that the cluster gives. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onLine?: (service: ServiceName, line: string) => void;
  /** It is started again. */
  readonly onDeath?: (service: ServiceName, why: string) => void;
}

/** How often a starting service is polled for readiness. */
const pollMs = 50;

/** The whole chain on this machine: a process each, started again when it dies. */
export class Cluster {
  readonly #options: ClusterOptions;
  readonly #children: ReadonlyMap<ServiceName, Child>;
  readonly #lost = Promise.withResolvers<never>();
  #wasReady = false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#lost.promise.catch(() => {});
    this.#children = new Map(serviceNames.map((name) => [name, this.#start(name)]));
  }

  /** Rejects with UNAVAILABLE when a service is not restarted any more; until all were ready, at once. */
  get lost(): Promise<never> {
    return this.#lost.promise;
  }

  get ports(): ClusterOptions['ports'] {
    return this.#options.ports;
  }

  child(name: ServiceName): Child {
    return this.#children.get(name)!;
  }

  /**
   * Resolves when every service answers calls. Throws UNAVAILABLE with the last line of a service that
   * ended before, and DEADLINE_EXCEEDED after `timeoutMs`.
   */
  async ready(timeoutMs = 600_000): Promise<void> {
    const { host, ports } = this.#options;
    const untilMs = performance.now() + timeoutMs;
    for (const name of serviceNames) {
      while (!(await answers(`http://${host}:${ports[name].metrics}/readyz`))) {
        if (performance.now() > untilMs) {
          const message = `${name} is not ready after ${timeoutMs / 1000} s: ${this.child(name).lastWords()}`;
          throw new DomainError('DEADLINE_EXCEEDED', 'SERVICE_NOT_READY', message);
        }
        await Promise.race([this.lost, sleep(pollMs)]);
      }
    }
    this.#wasReady = true;
  }

  /** The gateway first, so that what is under way ends. Resolves when all have ended. */
  async stop(): Promise<void> {
    await this.child('gateway').stop();
    await Promise.all(serviceNames.map((name) => this.child(name).stop()));
  }

  #start(name: ServiceName): Child {
    const { host, ports, env, onLine, onDeath } = this.#options;
    const addresses = serviceNames.map((name) => [
      `RADSCRIBE_${name.toUpperCase()}_ADDRESS`,
      `${host}:${ports[name].grpc}`,
    ]);
    return new Child({
      name,
      env: {
        ...Object.fromEntries(addresses),
        ...env,
        RADSCRIBE_HOST: host,
        RADSCRIBE_PORT: `${ports[name].grpc}`,
        RADSCRIBE_METRICS_PORT: `${ports[name].metrics}`,
      },
      onLine: (line) => onLine?.(name, line),
      onDeath: (why, restarts) => {
        if (this.#wasReady && restarts) {
          onDeath?.(name, why);
          return true;
        }
        const how = this.#wasReady ? 'died again and again' : 'did not start';
        this.#lost.reject(new DomainError('UNAVAILABLE', 'SERVICE_LOST', `${name} ${how}: ${why}`));
        return false;
      },
    });
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
