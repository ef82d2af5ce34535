import { setTimeout as delay } from 'node:timers/promises';
import type { ChannelState, Channels } from './channels.ts';
import type { Waiting } from './objects.ts';

export interface WatchOptions extends Waiting {
  /** Absent: whatever channels there are. */
  readonly channels?: readonly string[] | undefined;
  /** Time between two polls, plus or minus a tenth, so that many services do not poll at once. Default 5 s. */
  readonly pollMs?: number | undefined;
  /** Called with a poll that failed; the next one is made as planned. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/**
 * The states of channels by name: once at the start, then after every poll that found a change. A channel
 * that does not exist, or is closed, is absent. Ends when the signal aborts.
 */
export async function* watchChannels(
  source: Channels,
  { channels, pollMs = 5000, signal, onError }: WatchOptions,
): AsyncGenerator<ReadonlyMap<string, ChannelState>> {
  let known: string | undefined;
  const isEnded = (): boolean => signal?.aborted ?? false;
  while (!isEnded()) {
    let states: ReadonlyMap<string, ChannelState> | undefined;
    try {
      states = await poll(source, channels, signal);
    } catch (error) {
      if (isEnded()) return;
      onError?.(error);
    }
    if (states) {
      const now = JSON.stringify([...states.values()]);
      if (now !== known) {
        known = now;
        yield states;
      }
    }
    const waitMs = pollMs * (0.9 + 0.2 * Math.random());
    await delay(waitMs, undefined, signal ? { signal } : {}).catch(() => {});
  }
}

async function poll(
  source: Channels,
  channels: readonly string[] | undefined,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, ChannelState>> {
  const names = channels ?? (await source.names({ signal }));
  const states = await Promise.all(names.map((name) => source.find(name, { signal })));
  return new Map(states.flatMap((state) => (state ? [[state.channel, state] as const] : [])));
}
