import { setImmediate } from 'node:timers/promises';
import type { ServiceImplementation } from 'nice-grpc';
import type { DeadlineContext } from '../../lib/rpc/deadline.ts';
import { decodingInput } from '../../lib/rpc/decoding.ts';
import { priorityOf } from '../../lib/rpc/priority.ts';
import type { generatorService } from '../../lib/rpc/services.ts';
import { tensorOf } from '../../lib/rpc/tensors.ts';
import type { ReleaseHolder } from '../../lib/releases/holder.ts';
import type { Telemetry } from '../../lib/telemetry/telemetry.ts';
import { StageTimer } from '../../lib/telemetry/stage-timer.ts';
import { Deltas } from './deltas.ts';
import type { GeneratorModel } from './model.ts';
import type { ReportWriter } from './writer.ts';

const finishReasons = { eos: 'FINISH_REASON_END', length: 'FINISH_REASON_LENGTH' } as const;

/** radscribe.v1.GeneratorService. */
export const generatorImplementation = (
  holder: ReleaseHolder<GeneratorModel>,
  writer: ReportWriter,
  telemetry: Telemetry,
): ServiceImplementation<typeof generatorService, DeadlineContext> => ({
  async *generate({ release, tokens, text, decoding, priority, stream }, { signal, deadline }) {
    using lease = holder.acquire(release);
    const { model, manifest } = lease;
    const timer = new StageTimer(telemetry, manifest.variant);
    const deltas = new Deltas();
    const left = new AbortController();
    const item = {
      model,
      tokens: tensorOf(tokens, 'tokens', model.tokensShape),
      text,
      decoding: decodingInput(decoding),
      priority: priorityOf(priority),
      signal: AbortSignal.any([signal, left.signal]),
      deadline,
      onText: (text: string, tokens: number): void => {
        if (stream) deltas.push(text, tokens);
      },
    };
    const writing = writer.write(item, timer).finally(() => deltas.end());
    // Awaited below, unless the reader leaves before.
    writing.catch(() => {});
    try {
      if (stream) {
        // The queue admits or refuses before the next turn of the event loop.
        await Promise.race([writing, setImmediate()]);
        yield { release, accepted: {} };
      }
      for (let delta = await deltas.next(); delta; delta = await deltas.next()) {
        yield { release, delta };
      }
      const { finishReason, ...written } = await writing;
      const result = {
        ...written,
        finishReason: finishReasons[finishReason],
        timings: timer.timings,
      };
      yield { release, result };
    } finally {
      left.abort();
      await writing.catch(() => {});
    }
  },
});
