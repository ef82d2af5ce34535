import { createHash, randomInt, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Objects, type Waiting, jsonBytes, storeError } from './objects.ts';

/** A claim older than this, by the backend's own clock, was left by a writer that died. */
const leaseMs = 60_000;
/** A writer starts no write later than this after its claim. */
const trustMs = 20_000;
/** Long enough to outlive the claim of a dead writer. */
const patienceMs = 150_000;

/**
 * Creates an object only where none exists, on object storage without conditional writes. It needs only
 * that a list shows every write that ended before it began, as S3 and compatible stores promise.
 *
 * A writer writes a claim `locks/{key's hash}/{random}.json`, then lists the claims. Of two writers, the
 * one that lists second finds both claims: so at most one finds its claim alone. A writer that is not
 * alone removes its claim and retries after a random delay. One that is alone checks that the key is
 * free, writes it and removes its claim. A claim outlives its writer's death by `leaseMs`; ages are
 * differences of the backend's time stamps, so that clients' clocks do not matter. A writer that was
 * suspended for longer than `trustMs` gives up, and its write is aborted well before the lease ends. A
 * write that the network still delivers after the lease is the one case that this cannot exclude: where
 * that matters, use a backend with conditional writes.
 */
export async function createUnderLock(
  objects: Pick<Objects, 'read' | 'write' | 'list' | 'remove' | 'url'>,
  key: string,
  bytes: Uint8Array,
  { signal }: Waiting = {},
): Promise<boolean> {
  const folder = `locks/${createHash('sha256').update(key).digest('hex').slice(0, 32)}/`;
  const start = performance.now();
  for (let attempt = 0; performance.now() - start < patienceMs; attempt++) {
    signal?.throwIfAborted();
    const claim = `${folder}${randomUUID()}.json`;
    const claimedAt = performance.now();
    try {
      await objects.write(claim, jsonBytes({ key }), { signal });
      if (await isAlone(objects, folder, claim, signal)) {
        if ((await objects.read(key, { signal })) !== undefined) return false;
        const leftMs = trustMs - (performance.now() - claimedAt);
        if (leftMs > 0) {
          const timeout = AbortSignal.timeout(Math.ceil(leftMs));
          const either = signal ? AbortSignal.any([signal, timeout]) : timeout;
          await objects.write(key, bytes, { signal: either });
          return true;
        }
      }
    } finally {
      // Where this fails, the claim expires.
      await objects.remove(claim).catch(() => {});
    }
    await delay(randomInt(10, 50 * 2 ** Math.min(attempt, 5)), undefined, signal ? { signal } : {});
  }
  const message = `${key} stayed locked by other writers for ${patienceMs / 1000} s; retry`;
  throw storeError('UNAVAILABLE', 'STORE_LOCKED', objects.url, message);
}

async function isAlone(
  objects: Pick<Objects, 'list' | 'remove'>,
  folder: string,
  claim: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const claims = await Array.fromAsync(objects.list(folder, { signal }));
  const mine = claims.find(({ key }) => key === claim);
  if (!mine) return false;
  const others = claims.filter((other) => other !== mine);
  const dead = others.filter(({ modifiedMs }) => mine.modifiedMs - modifiedMs > leaseMs);
  for (const { key } of dead) await objects.remove(key, { signal });
  return dead.length === others.length;
}
