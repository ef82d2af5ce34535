import { context, trace } from '@opentelemetry/api';
import { DomainError } from '../../lib/errors.ts';
import { isLabelVariant } from '../../lib/models/names.ts';
import type { ReleaseMethods } from '../../lib/rpc/release-methods.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import type { Authenticate } from './auth.ts';
import type { Catalogue } from './catalogue.ts';
import type { ChainEvent, ChainReport } from './chain.ts';
import type { RpcModelServices } from './model-services.ts';
import type { Permits } from './permits.ts';
import type { Quota } from './quota.ts';
import { type Answer, answerStudy, type Routing } from './release-plan.ts';
import type { ReportRequest } from './report-request.ts';
import type { DescribedImage } from './report-response.ts';
import { ownMs } from './request-timings.ts';
import type { GatewayRetries } from './retries.ts';
import type { Route } from './route.ts';
import type { Outcome, Shadow } from './shadow.ts';

export interface CallOptions {
  /** The name of the client, as `identify` gives it. */
  readonly client: string;
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
  /** Receives the events before the report. All are of the release that answers. */
  readonly emit?: ((event: ChainEvent<DescribedImage>, route: Route) => void) | undefined;
}

export interface GatewayParts {
  readonly telemetry: Telemetry;
  readonly catalogue: Catalogue;
  /** The channels that requests may select; the catalogue may hold the shadow channel too. */
  readonly channels: readonly string[];
  readonly releases: ReleaseMethods;
  readonly permits: Permits;
  readonly quota: Quota;
  readonly authenticate: Authenticate | undefined;
  readonly shadow: Shadow;
  readonly shadowChannel: string | undefined;
  /** For calls without a deadline. */
  readonly timeoutMs: number;
  readonly services: RpcModelServices;
  readonly retries: GatewayRetries;
}

const shadowTimeoutMs = 60_000;

/** All that the gateway does with a request. It knows no gRPC and holds no model. */
export class Gateway {
  readonly #parts: GatewayParts;

  constructor(parts: GatewayParts) {
    this.#parts = parts;
  }

  get releases(): ReleaseMethods {
    return this.#parts.releases;
  }

  /** The name of the client: from its token, else its address. Throws UNAUTHENTICATED. */
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

  /** The report of one request. Bulk work waits while a queue is full, until its deadline. */
  async report(request: ReportRequest, options: CallOptions): Promise<Answer<DescribedImage>> {
    const { permits, telemetry, services, retries, timeoutMs } = this.#parts;
    const { client, signal, emit, deadline = Date.now() + timeoutMs } = options;
    const bulk = request.priority === 'bulk';
    this.#takeQuota(client, request.images.length);
    const release = await this.#enter(request, { signal, deadline, bulk });
    const { inFlight, queueBytes } = telemetry.metrics;
    const showLoad = (): void => {
      inFlight.set(permits.requests);
      queueBytes.set(permits.bytes);
    };
    showLoad();
    try {
      const limits = { signal, deadline, bulk, emit };
      const answer = await answerStudy(this.#routing(), services, request, retries, limits);
      this.#observe(answer);
      this.#copy(request, answer.report);
      return answer;
    } finally {
      release();
      showLoad();
    }
  }

  async #enter(
    { images }: ReportRequest,
    limits: { readonly signal: AbortSignal; readonly deadline: number; readonly bulk: boolean },
  ): Promise<() => void> {
    const { permits, telemetry, retries } = this.#parts;
    const bytes = images.reduce((sum, { data }) => sum + data.length, 0);
    try {
      return await retries.run('admission', limits, async () => permits.take(bytes));
    } catch (error) {
      if (error instanceof DomainError && error.code === 'RESOURCE_EXHAUSTED') {
        telemetry.metrics.rejected.inc({ reason: 'queue_full' });
      }
      throw error;
    }
  }

  #takeQuota(client: string, images: number): void {
    try {
      this.#parts.quota.take(client, images);
    } catch (error) {
      this.#parts.telemetry.metrics.rejected.inc({ reason: 'quota' });
      throw error;
    }
  }

  #routing(): Routing {
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

  /** The durations of an answered request, for the metrics and the span of its call. */
  #observe({ route: { release, variant }, report: { timings } }: Answer<DescribedImage>): void {
    const { stages } = this.#parts.telemetry.metrics;
    for (const { stage, durationMs } of timings) {
      if (stage !== 'vision' && stage !== 'labeler' && stage !== 'generator') continue;
      stages.observe({ stage, variant }, durationMs / 1000);
    }
    stages.observe({ stage: 'gateway', variant }, ownMs(timings) / 1000);
    const span = trace.getSpan(context.active());
    span?.setAttributes({ 'radscribe.release': release, 'radscribe.variant': variant });
  }

  /**
   * Sends some requests to the shadow release too. The caller learns nothing of it, and a full model
   * service refuses the copy at once: it waits for nothing that interactive work could use.
   */
  #copy(request: ReportRequest, report: ChainReport<DescribedImage>): void {
    const { shadow, shadowChannel, catalogue, permits, services, retries } = this.#parts;
    const route = catalogue.targets().find(({ channel }) => channel === shadowChannel);
    if (route === undefined) return;
    const copy = { ...request, selector: {}, priority: 'bulk' as const };
    shadow.copy(request.requestId, outcomeOf(report), permits.busy, async () => {
      const signal = AbortSignal.timeout(shadowTimeoutMs);
      const limits = { signal, deadline: Date.now() + shadowTimeoutMs, bulk: false };
      const routing = { ...this.#routing(), routes: () => [route], refuse: async () => {} };
      return outcomeOf((await answerStudy(routing, services, copy, retries, limits)).report);
    });
  }
}

const outcomeOf = ({ labels, generation }: ChainReport<DescribedImage>): Outcome => ({
  positive: labels.filter(({ state }) => state === 'positive').map(({ name }) => name),
  text: generation.text,
});
