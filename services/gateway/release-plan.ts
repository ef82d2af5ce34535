import { DomainError } from '../../lib/errors.ts';
import { isNotHeld } from './catalogue.ts';
import {
  type ChainEvent,
  type ChainReport,
  type ImageInfo,
  type ModelServices,
  runChain,
  type StageCall,
  type Study,
} from './chain.ts';
import type { GatewayRetries } from './retries.ts';
import { chooseRoute, type ReleaseSelector, type Route } from './route.ts';

/** A study, its name, and the release that is to answer. */
export interface StudyRequest<Decoding> extends Study<Decoding> {
  readonly requestId: string;
  readonly selector: ReleaseSelector;
  readonly priority: StageCall['priority'];
}

export interface Routing {
  /** The releases that answer requests now; read again for every attempt. */
  readonly routes: () => readonly Route[];
  /** The releases that a request may name by id. */
  readonly known: () => readonly Route[];
  /** A model service does not hold a release. */
  readonly refuse: (release: string) => Promise<void>;
  /** Whether a variant conditions its text on the labels. */
  readonly isConditioned: (variant: string) => boolean;
}

export interface PlanOptions<Info> extends Pick<StageCall, 'signal' | 'deadline' | 'bulk'> {
  /** Receives the events of the one release that answers. */
  readonly emit?: ((event: ChainEvent<Info>, route: Route) => void) | undefined;
}

export interface Answer<Info> {
  readonly route: Route;
  readonly report: ChainReport<Info>;
}

/**
 * The report of one study, by one release. If a model service does not hold the release (yet, or any
 * longer), the whole chain runs again with another release of the same selector, unless events were
 * emitted already: no caller receives parts of two releases. A release that was named by its id is not
 * replaced.
 */
export async function answerStudy<Tensor, Decoding, Info extends ImageInfo>(
  { routes, known, refuse, isConditioned }: Routing,
  services: ModelServices<Tensor, Decoding, Info>,
  request: StudyRequest<Decoding>,
  retries: GatewayRetries,
  options: PlanOptions<Info>,
): Promise<Answer<Info>> {
  const { selector, requestId, priority } = request;
  const { emit, ...limits } = options;
  const isPinned = selector.release !== undefined;
  const attempt = async (): Promise<Answer<Info>> => {
    const route = chooseRoute(isPinned ? known() : routes(), selector, requestId);
    const { release, variant } = route;
    let hasEmitted = false;
    const emitOf = (event: ChainEvent<Info>): void => {
      hasEmitted = true;
      emit?.(event, route);
    };
    const call = { ...limits, release, priority };
    const chain = { conditioned: isConditioned(variant), emit: emit && emitOf };
    try {
      return { route, report: await runChain(services, request, call, chain) };
    } catch (error) {
      if (!isNotHeld(error)) throw error;
      // What was sent cannot be taken back.
      if (hasEmitted) throw goneMidResponse(release, error);
      if (!isPinned) await refuse(release);
      throw error;
    }
  };
  return isPinned ? attempt() : retries.run('release', limits, attempt);
}

function goneMidResponse(release: string, cause: unknown): DomainError {
  const message = `release ${release} was taken out of service mid-response; send the request again`;
  return new DomainError('UNAVAILABLE', 'RELEASE_GONE', message, { cause });
}
