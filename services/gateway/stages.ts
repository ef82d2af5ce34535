import type { Client } from 'nice-grpc';
import { DomainError } from '../../lib/errors.ts';
import type {
  DecodingOptions,
  GenerateResult,
  GeneratorServiceMethods,
  ImageInfo,
  Label as LabelMessage,
  LabelerServiceMethods,
  Tensor,
  VisionServiceMethods,
} from '../../lib/rpc/messages.ts';
import type { DeadlineOptions } from '../../lib/rpc/observe.ts';
import type { Service } from '../../lib/rpc/services.ts';
import { observations } from '../../lib/text/labels/observations.ts';
import type { Generation, Hop, Label, Piece, Stages } from './chain.ts';
import { viewOf } from './request.ts';
import { finishReasons, type Seen, stateOf } from './response.ts';
import { resuming } from './resume.ts';

type Caller<Methods> = Client<Service<Methods>, DeadlineOptions>;

export interface Callers {
  readonly vision: Caller<VisionServiceMethods>;
  readonly labeler: Caller<LabelerServiceMethods>;
  readonly generator: Caller<GeneratorServiceMethods>;
}

const priorities = { interactive: 'PRIORITY_INTERACTIVE', batch: 'PRIORITY_BATCH' } as const;

/**
 * The model services behind their clients, for one request, whose answer nobody wants after
 * `deadline` (milliseconds since the epoch). Every answer is checked to be of the release asked.
 */
export function rpcStages(
  callers: Callers,
  deadline: number | undefined,
): Stages<Tensor, DecodingOptions | null, Seen> {
  const options = ({ signal }: Hop) => ({ signal, deadline });
  const envelope = ({ release, priority }: Hop) => ({ release, priority: priorities[priority] });
  return {
    embed: async (image, field, hop) => {
      const request = { ...envelope(hop), image };
      const response = await callers.vision.embed(request, options(hop)).catch((error: unknown) => {
        throw renamed(error, field);
      });
      checkRelease('vision', response, hop);
      const { tokens, pooled, image: seen, outOfDistribution, timings } = response;
      if (tokens === null || pooled === null || seen === null) throw incomplete('vision');
      return {
        tokens,
        imageTokens: tokens.shape[0] ?? 0,
        pooled,
        image: seenOf(seen),
        outOfDistribution,
        timings,
      };
    },
    classify: async (pooled, hop) => {
      const request = { ...envelope(hop), pooled };
      const response = await callers.labeler.classify(request, options(hop));
      checkRelease('labeler', response, hop);
      const { labels, timings } = response;
      if (labels.length !== observations.length) throw incomplete('labeler');
      return { labels: labels.map(labelOf), timings };
    },
    generate: (prompt, hop) =>
      resuming(() => pieces(callers.generator, { ...envelope(hop), ...prompt }, hop, deadline)),
  };
}

/**
 * The result comes last, when the call has ended: who left at it would cancel every call. What happens to
 * the connection after the result loses nothing.
 */
async function* pieces(
  generator: Callers['generator'],
  request: Parameters<Callers['generator']['generate']>[0],
  hop: Hop,
  deadline: number | undefined,
): AsyncGenerator<Piece> {
  let generation: Generation | undefined;
  try {
    for await (const response of generator.generate(request, { signal: hop.signal, deadline })) {
      checkRelease('generator', response, hop);
      const { delta, result } = response;
      if (delta !== undefined) yield { kind: 'text', ...delta };
      if (result !== undefined) generation = generationOf(result);
    }
  } catch (error) {
    if (generation === undefined) throw error;
  }
  if (generation !== undefined) yield { kind: 'end', generation };
}

const seenOf = ({ view, ...image }: ImageInfo): Seen => ({ ...image, view: viewOf(view) });

function labelOf({ name, probability, threshold, state }: LabelMessage, index: number): Label {
  const observation = observations[index];
  if (name !== observation) throw incomplete('labeler');
  return { name: observation, probability, threshold, state: stateOf(state) };
}

const generationOf = ({ finishReason, ...result }: GenerateResult): Generation => ({
  ...result,
  finishReason: finishReason === finishReasons.length ? 'length' : 'end',
});

/** A stage names its own field; the caller knows it by another. */
function renamed(error: unknown, field: string): unknown {
  if (!(error instanceof DomainError) || error.code !== 'INVALID_ARGUMENT') return error;
  const { code, reason, message, field: named = '', metadata, cause } = error;
  const text = message.startsWith(`${named}: `) ? message.slice(named.length + 2) : message;
  return new DomainError(code, reason, `${field}: ${text}`, { field, metadata, cause });
}

/** No answer is put together from two releases, whatever a service does. */
function checkRelease(service: string, { release }: { release: string }, hop: Hop): void {
  if (release === hop.release) return;
  const message = `${service} answered from ${release}, asked for was ${hop.release}`;
  throw new DomainError('INTERNAL', 'RELEASE_MIXED', message);
}

const incomplete = (service: string): DomainError =>
  new DomainError('INTERNAL', 'ANSWER_INCOMPLETE', `${service} left out a part of its answer`);
