import { setTimeout as sleep } from 'node:timers/promises';
import { context, trace } from '@opentelemetry/api';
import { DomainError } from '../../lib/errors.ts';
import { isLabelVariant } from '../../lib/models/names.ts';
import type { DecodingOptions, Tensor } from '../../lib/rpc/messages.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { Authenticate } from './auth.ts';
import type { Catalogue } from './catalogue.ts';
import type { ChainReport, Stages } from './chain.ts';
import type { Permits } from './permits.ts';
import type { Quota } from './quota.ts';
import type { ReleaseList } from './releases.ts';
import { answer, type Answered } from './reporter.ts';
import type { Ask } from './request.ts';
import type { Seen } from './response.ts';
import type { Route } from './route.ts';
import type { Outcome, Shadow } from './shadow.ts';
import { ownMs } from './timeline.ts';

/** On what terms a request is answered. */
export interface Terms {
  readonly client: string;
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
  /** Text is wanted as it is decoded. */
  readonly stream: boolean;
}

type ModelStages = Stages<Tensor, DecodingOptions | null, Seen>;

export interface GatewayParts {
  readonly telemetry: Telemetry;
  readonly catalogue: Catalogue;
  /** Channels that requests may go to; the catalogue may know more. */
  readonly channels: readonly string[];
  readonly releases: ReleaseList;
  readonly permits: Permits;
  readonly quota: Quota;
  readonly authenticate: Authenticate | undefined;
  readonly shadow: Shadow;
  readonly shadowChannel: string | undefined;
  /** Of a call that brings no deadline. */
  readonly timeoutMs: number;
  /** The model services for one request. */
  readonly stages: (deadline: number) => ModelStages;
}

/** Bulk work that met a full queue comes again so often. */
const bulkAttempts = 20;
const shadowTimeoutMs = 60_000;

/** The whole of what the gateway does with one request. It knows no gRPC and owns no model. */
export class Gateway {
  readonly #parts: GatewayParts;

  constructor(parts: GatewayParts) {
    this.#parts = parts;
  }

  get releases(): ReleaseList {
    return this.#parts.releases;
  }

  /** The name of the client: what its token says, else its address. Throws UNAUTHENTICATED. */
  async identify(authorization: string | undefined, peer: string): Promise<string> {
    const { authenticate, telemetry } = this.#parts;
    if (authenticate === undefined) return peer.replace(/:\d+$/, '');
    try {
      return await authenticate(authorization);
    } catch (error) {
      if (error instanceof DomainError && error.code === 'UNAUTHENTICATED') {
        telemetry.metrics.rejected.inc({ reason: 'unauthenticated' });
      }
      throw error;
    }
  }

  /** The answer to one request, as it comes; the report is the last. */
  async *answer(ask: Ask, terms: Terms): AsyncGenerator<Answered<Seen>> {
    const { permits, telemetry } = this.#parts;
    const bytes = ask.images.reduce((sum, { data }) => sum + data.length, 0);
    this.#takeQuota(terms.client, ask.images.length);
    const leave = await this.#enter(ask, bytes, terms.signal);
    const { inFlight, queueBytes } = telemetry.metrics;
    inFlight.set(permits.requests);
    queueBytes.set(permits.bytes);
    try {
      for await (const answered of this.#attempts(ask, terms)) {
        if (answered.event.kind === 'report') {
          this.#watch(answered.route, answered.event.report);
          this.#copy(ask, answered.event.report);
        }
        yield answered;
      }
    } finally {
      leave();
      inFlight.set(permits.requests);
      queueBytes.set(permits.bytes);
    }
  }

  /** Interactive requests are refused by a full stage at once; bulk work waits and comes again. */
  async *#attempts(ask: Ask, terms: Terms): AsyncGenerator<Answered<Seen>> {
    const { signal, stream, deadline = Date.now() + this.#parts.timeoutMs } = terms;
    const stages = this.#parts.stages(deadline);
    for (let attempt = 1; ; attempt += 1) {
      try {
        yield* answer(this.#routing(), stages, ask, { signal, stream });
        return;
      } catch (error) {
        const waitMs = ask.priority === 'batch' ? fullFor(error) : undefined;
        const isLast = attempt === bulkAttempts || Date.now() + (waitMs ?? 0) >= deadline;
        if (waitMs === undefined || isLast) throw error;
        await sleep(waitMs, undefined, { signal });
      }
    }
  }

  async #enter(ask: Ask, bytes: number, signal: AbortSignal): Promise<() => void> {
    const { permits, telemetry } = this.#parts;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return permits.take(bytes);
      } catch (error) {
        const waitMs = ask.priority === 'batch' ? fullFor(error) : undefined;
        if (waitMs === undefined || attempt === bulkAttempts) {
          telemetry.metrics.rejected.inc({ reason: 'queue_full' });
          throw error;
        }
        await sleep(waitMs, undefined, { signal });
      }
    }
  }

  #takeQuota(client: string, pictures: number): void {
    try {
      this.#parts.quota.take(client, pictures);
    } catch (error) {
      this.#parts.telemetry.metrics.rejected.inc({ reason: 'quota' });
      throw error;
    }
  }

  #routing() {
    const { catalogue, channels } = this.#parts;
    const served = (routes: readonly Route[]) =>
      routes.filter(({ channel }) => channels.includes(channel));
    return {
      routes: () => served(catalogue.routes()),
      known: () => served(catalogue.known()),
      refuse: (release: string) => {
        this.#parts.telemetry.metrics.rejected.inc({ reason: 'release_not_held' });
        return catalogue.refuse(release);
      },
      isConditioned: isLabelVariant,
    };
  }

  /** The times of an answer that was given, for metrics and its span. */
  #watch({ release, variant }: Route, { timings }: ChainReport<Seen>): void {
    const { stages } = this.#parts.telemetry.metrics;
    for (const { stage, durationMs } of timings) {
      if (stage !== 'vision' && stage !== 'labeler' && stage !== 'generator') continue;
      stages.observe({ stage, variant }, durationMs / 1000);
    }
    stages.observe({ stage: 'gateway', variant }, ownMs(timings) / 1000);
    const span = trace.getSpan(context.active());
    span?.setAttributes({ 'radscribe.release': release, 'radscribe.variant': variant });
  }

  /** Maybe the same request to the shadow release, of which the caller never learns. */
  #copy(ask: Ask, report: ChainReport<Seen>): void {
    const { shadow, shadowChannel, catalogue, permits, stages } = this.#parts;
    const route = catalogue.targets().find(({ channel }) => channel === shadowChannel);
    if (route === undefined) return;
    const study = { ...ask, wish: {}, priority: 'batch' as const };
    shadow.copy(ask.requestId, outcome(report), permits.busy, async () => {
      const signal = AbortSignal.timeout(shadowTimeoutMs);
      const routing = { ...this.#routing(), routes: () => [route] };
      const its = stages(Date.now() + shadowTimeoutMs);
      const refuse = () => Promise.resolve();
      const copy = answer({ ...routing, refuse }, its, study, { signal, stream: false });
      for await (const { event } of copy) {
        if (event.kind === 'report') return outcome(event.report);
      }
      throw new Error('the copy ended without a report');
    });
  }
}

const outcome = ({ labels, generation }: ChainReport<Seen>): Outcome => ({
  positive: labels.filter(({ state }) => state === 'positive').map(({ name }) => name),
  text: generation.text,
});

/** How long a full queue asks to stay away; undefined for other errors. */
function fullFor(error: unknown): number | undefined {
  if (!(error instanceof DomainError) || error.code !== 'RESOURCE_EXHAUSTED') return undefined;
  const waitMs = Number(error.metadata['retryAfterMs']);
  return waitMs > 0 ? waitMs : undefined;
}
