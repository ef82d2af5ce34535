import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext, TestFn } from 'ava';
import { DomainError } from '../../lib/errors.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import { writeRandomRelease } from './release.ts';
import { type FakeStages, startGateway, startStages } from './stages.ts';

export const image = { data: Buffer.from('an image') };

/** A gateway before model services without models, over a store of two label releases and a plain one. */
export function gatewaySetUp(test: TestFn) {
  let folder: string;
  const ids: string[] = [];
  test.before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'radscribe-'));
    const store = openStore(join(folder, 'store'));
    for (const [seed, variant] of (['vit-label', 'vit-label', 'chexnet'] as const).entries()) {
      const place = join(folder, `${seed}`);
      await writeRandomRelease(place, variant, { seed });
      ids.push((await store.publish(place)).id);
    }
  });
  test.after.always(() => rm(folder, { recursive: true }));

  /** A store with its own channels and the same releases. */
  async function storeOf(t: ExecutionContext, channels: Record<string, string>) {
    const url = await mkdtemp(join(tmpdir(), 'radscribe-'));
    t.teardown(() => rm(url, { recursive: true }));
    await cp(join(folder, 'store'), url, { recursive: true });
    const store = openStore(url);
    for (const [name, release] of Object.entries(channels)) await store.promote(name, release);
    return { url, store };
  }

  async function setUp(t: ExecutionContext, env: Record<string, string> = {}) {
    const [one = '', two = '', plain = ''] = ids;
    const { url, store } = await storeOf(t, { stable: one, plain });
    const fake = await startStages(t, ids);
    const started = await startGateway(t, fake, { STORE: url, CHANNELS: 'stable,plain', ...env });
    return { ...started, fake, store, one, two, plain };
  }

  return { ids, storeOf, setUp };
}

/** The error that a call fails with. */
export async function failure(promise: Promise<unknown>): Promise<DomainError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

/** How often a model service was called. */
export const countOf = (fake: FakeStages, service: string): number =>
  fake.calls.filter((call) => call.service === service).length;

/** The error of a model service whose queue is full. */
export const queueFull = (): DomainError =>
  new DomainError('RESOURCE_EXHAUSTED', 'QUEUE_FULL', 'full', { metadata: { retryAfterMs: '1' } });
