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
import type { Generation, Label, ModelServices, StageCall } from './chain.ts';
import { viewOf } from './report-request.ts';
import { type DescribedImage, finishReasons, stateOf } from './report-response.ts';
import { ResumedText } from './resumed-text.ts';
import type { GatewayRetries } from './retries.ts';

type ServiceClient<Methods> = Client<Service<Methods>, DeadlineOptions>;

/** The clients of the model services. They do not retry by themselves. */
export interface ModelClients {
  readonly vision: ServiceClient<VisionServiceMethods>;
  readonly labeler: ServiceClient<LabelerServiceMethods>;
  readonly generator: ServiceClient<GeneratorServiceMethods>;
}

export type RpcModelServices = ModelServices<Tensor, DecodingOptions | null, DescribedImage>;

const priorities = { interactive: 'PRIORITY_INTERACTIVE', bulk: 'PRIORITY_BATCH' } as const;

/**
 * The model services behind their clients. Each call is retried by its row of the table, and checked to
 * be answered by the release of the request.
 */
export function rpcModelServices(clients: ModelClients, retries: GatewayRetries): RpcModelServices {
  return {
    embed: (image, field, call) =>
      retries.run('vision', call, async () => {
        const request = { ...envelope(call), image };
        const response = await clients.vision
          .embed(request, limits(call))
          .catch((error: unknown) => {
            throw renamed(error, field);
          });
        checkRelease('vision', response, call);
        const { tokens, pooled, image: described, outOfDistribution, timings } = response;
        if (tokens === null || pooled === null || described === null) throw incomplete('vision');
        return {
          tokens,
          imageTokens: tokens.shape[0] ?? 0,
          pooled,
          image: describedImage(described),
          outOfDistribution,
          timings,
        };
      }),
    classify: (pooled, call) =>
      retries.run('labeler', call, async () => {
        const request = { ...envelope(call), pooled };
        const response = await clients.labeler.classify(request, limits(call));
        checkRelease('labeler', response, call);
        const { labels, timings } = response;
        if (labels.length !== observations.length) throw incomplete('labeler');
        return { labels: labels.map(labelOf), timings };
      }),
    generate: (prompt, call, listener) => {
      const text = new ResumedText(listener);
      const request = { ...envelope(call), ...prompt, stream: listener !== undefined };
      return retries.run('generator', call, () =>
        generateOnce(clients.generator, request, call, text),
      );
    },
  };
}

const limits = ({ signal, deadline }: StageCall) => ({ signal, deadline });

const envelope = ({ release, priority }: StageCall) => ({
  release,
  priority: priorities[priority],
});

/**
 * Reads to the end of the stream: a reader who leaves at the result would cancel the call. A connection
 * that is lost after the result loses nothing.
 */
async function generateOnce(
  generator: ModelClients['generator'],
  request: Parameters<ModelClients['generator']['generate']>[0],
  call: StageCall,
  text: ResumedText,
): Promise<Generation> {
  let generation: Generation | undefined;
  text.start();
  try {
    for await (const response of generator.generate(request, limits(call))) {
      checkRelease('generator', response, call);
      // Any message of the release says so; `accepted` says it before the first text.
      text.accept();
      const { delta, result } = response;
      if (delta !== undefined) text.add(delta);
      if (result !== undefined) generation = generationOf(result);
    }
  } catch (error) {
    if (generation === undefined) throw error;
  }
  if (generation === undefined) throw incomplete('generator');
  text.end(generation.text);
  return generation;
}

const describedImage = ({ view, ...image }: ImageInfo): DescribedImage => ({
  ...image,
  view: viewOf(view),
});

function labelOf({ name, probability, threshold, state }: LabelMessage, index: number): Label {
  const observation = observations[index];
  if (name !== observation) throw incomplete('labeler');
  return { name: observation, probability, threshold, state: stateOf(state) };
}

const generationOf = ({ finishReason, ...result }: GenerateResult): Generation => ({
  ...result,
  finishReason: finishReason === finishReasons.length ? 'length' : 'end',
});

/** The error of a service, which names its own field, with the field of our caller's request. */
function renamed(error: unknown, field: string): unknown {
  if (!(error instanceof DomainError) || error.code !== 'INVALID_ARGUMENT') return error;
  const { code, reason, message, field: named = '', metadata, cause } = error;
  const text = message.startsWith(`${named}: `) ? message.slice(named.length + 2) : message;
  return new DomainError(code, reason, `${field}: ${text}`, { field, metadata, cause });
}

/** No report is assembled from two releases, whatever a service does. */
function checkRelease(service: string, { release }: { release: string }, call: StageCall): void {
  if (release === call.release) return;
  const message = `${service} answered with release ${release}, expected ${call.release}`;
  throw new DomainError('INTERNAL', 'RELEASE_MIXED', message);
}

const incomplete = (service: string): DomainError =>
  new DomainError('INTERNAL', 'ANSWER_INCOMPLETE', `${service} sent an incomplete answer`);
