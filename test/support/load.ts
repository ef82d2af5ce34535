import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../../lib/errors.ts';
import type { GenerateReportResponse } from '../../lib/rpc/messages.ts';
import { patienceMs } from './waiting.ts';

export interface Load {
  readonly responses: GenerateReportResponse[];
  readonly failures: DomainError[];
  /** Ends it, and waits for the calls under way. */
  stop(): Promise<void>;
}

/** So many callers, each asking again when it has its answer. */
export function startLoad(
  callers: number,
  ask: (id: number) => Promise<GenerateReportResponse>,
): Load {
  const responses: GenerateReportResponse[] = [];
  const failures: DomainError[] = [];
  const end = new AbortController();
  let id = 0;
  const call = async (): Promise<void> => {
    while (!end.signal.aborted) {
      try {
        responses.push(await ask((id += 1)));
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        failures.push(error);
        await sleep(20);
      }
    }
  };
  const ended = Promise.all(Array.from({ length: callers }, call));
  return {
    responses,
    failures,
    stop: async () => {
      end.abort();
      await ended;
    },
  };
}

/** Waits until the load has got so many more answers. */
export async function answers(load: Load, more: number): Promise<void> {
  const target = load.responses.length + more;
  const endMs = performance.now() + patienceMs;
  while (load.responses.length < target) {
    if (performance.now() > endMs) {
      const last = load.failures.at(-1)?.message ?? 'none';
      throw new Error(`${load.responses.length} of ${target} answers; last failure: ${last}`);
    }
    await sleep(5);
  }
}
