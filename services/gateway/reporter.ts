import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../../lib/errors.ts';
import { isNotHeld } from './catalogue.ts';
import { type ChainEvent, type ImageInfo, runChain, type Stages } from './chain.ts';
import type { Hop, Study } from './chain.ts';
import { chooseRoute, type Route, type Wish } from './route.ts';

/** What is asked, and by what name. */
export interface Question<Decoding> extends Study<Decoding> {
  readonly requestId: string;
  readonly wish: Wish;
  readonly priority: Hop['priority'];
}

export interface ReporterOptions {
  /** Where requests go now; read anew for every attempt. */
  readonly routes: () => readonly Route[];
  /** What may be asked for by its id. */
  readonly known: () => readonly Route[];
  /** A stage does not hold a release. */
  readonly refuse: (release: string) => Promise<void>;
  /** Whether the variant conditions its text on the labels. */
  readonly isConditioned: (variant: string) => boolean;
}

export interface Answered<Info> {
  readonly route: Route;
  readonly event: ChainEvent<Info>;
}

/** Chains begun for one request, where stages do not hold the release of the one before. */
const maxAttempts = 5;
/** Before another chain of the same release. */
const pauseMs = 100;

/**
 * The answer to one question, as it comes. A release that a stage does not hold (yet, or any more)
 * makes the chain begin anew with another of the same wish, from the start: no answer is mixed of two
 * releases. A release that was asked for by its id is not replaced.
 */
export async function* answer<Tensor, Decoding, Info extends ImageInfo>(
  { routes, known, refuse, isConditioned }: ReporterOptions,
  stages: Stages<Tensor, Decoding, Info>,
  question: Question<Decoding>,
  { signal, stream }: { readonly signal: AbortSignal; readonly stream: boolean },
): AsyncGenerator<Answered<Info>> {
  const { wish, requestId, priority } = question;
  const pinned = wish.release !== undefined;
  const tried = new Set<string>();
  for (let attempt = 1; ; attempt += 1) {
    const route = chooseRoute(pinned ? known() : routes(), wish, requestId);
    const { release, variant } = route;
    if (tried.has(release)) await sleep(pauseMs, undefined, { signal });
    tried.add(release);
    const hop = { release, priority, signal };
    let text = '';
    try {
      const options = { conditioned: isConditioned(variant), stream };
      for await (const event of runChain(stages, question, hop, options)) {
        if (event.kind === 'text') text += event.text;
        yield { route, event };
      }
      return;
    } catch (error) {
      if (pinned || !isNotHeld(error) || attempt === maxAttempts) throw error;
      // Text that was sent cannot be taken back.
      if (text !== '') throw moved(release, error);
      await refuse(release);
    }
  }
}

function moved(release: string, cause: unknown): DomainError {
  const message = `release ${release} was taken out of service during the answer; try again`;
  return new DomainError('UNAVAILABLE', 'RELEASE_GONE', message, { cause });
}
