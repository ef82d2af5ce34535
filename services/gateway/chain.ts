import { promptText } from '../../lib/inference/prompt.ts';
import type { LabelState, Observation } from '../../lib/text/labels/observations.ts';
import { type ReportText, splitReport } from '../../lib/text/report-text.ts';
import { RequestTimings, type Timing } from './request-timings.ts';
import { chooseView, usableImages, type View, viewWarnings, type Warning } from './views.ts';

/** One study to report on. `Decoding` is passed to the generator as it came. */
export interface Study<Decoding> {
  readonly images: readonly StudyImage[];
  readonly indication: string;
  readonly decoding: Decoding;
  /** Classify even if the variant does not need the labels. */
  readonly includeLabels: boolean;
}

export interface StudyImage {
  readonly data: Uint8Array;
  /** As the caller states it. */
  readonly view: View | undefined;
}

/** What every call of a model service for one request has in common. */
export interface StageCall {
  readonly release: string;
  readonly priority: 'interactive' | 'bulk';
  /** Retry while the queue of a service is full. */
  readonly bulk: boolean;
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly deadline: number | undefined;
}

export interface ImageInfo {
  /** From the DICOM file. */
  readonly view: View | undefined;
}

/** Features of one image, as the vision service packs them. */
interface Embedding<Tensor, Info extends ImageInfo> {
  readonly tokens: Tensor;
  readonly imageTokens: number;
  readonly pooled: Tensor;
  readonly image: Info;
  readonly outOfDistribution: number | undefined;
  readonly timings: readonly Timing[];
}

export interface Label {
  readonly name: Observation;
  readonly probability: number;
  readonly threshold: number;
  readonly state: LabelState;
}

interface Prompt<Tensor, Decoding> {
  readonly tokens: Tensor;
  /** Labels or indication. */
  readonly text: string;
  readonly decoding: Decoding;
}

export interface TextDelta {
  readonly text: string;
  /** Decoded so far. */
  readonly tokens: number;
}

export interface GenerationListener {
  /** The generator holds the release and has admitted the request. Called once, before any text. */
  readonly onAccepted: () => void;
  readonly onText: (delta: TextDelta) => void;
}

export interface Generation {
  readonly text: string;
  readonly finishReason: 'end' | 'length';
  readonly generatedTokens: number;
  readonly textTokens: number;
  readonly meanLogProbability: number;
  readonly timings: readonly Timing[];
}

/** The model services as the chain calls them. Errors name `field` if it is what is wrong. */
export interface ModelServices<Tensor, Decoding, Info extends ImageInfo> {
  readonly embed: (
    image: Uint8Array,
    field: string,
    call: StageCall,
  ) => Promise<Embedding<Tensor, Info>>;
  readonly classify: (
    pooled: Tensor,
    call: StageCall,
  ) => Promise<{ readonly labels: readonly Label[]; readonly timings: readonly Timing[] }>;
  /** Text is sent as it is decoded if there is a listener. */
  readonly generate: (
    prompt: Prompt<Tensor, Decoding>,
    call: StageCall,
    listener: GenerationListener | undefined,
  ) => Promise<Generation>;
}

export interface ChainReport<Info> extends ReportText {
  readonly labels: readonly Label[];
  readonly imageIndex: number;
  /** In the order of the study; undefined for an image that was not needed. */
  readonly images: readonly (Info | undefined)[];
  readonly warnings: readonly Warning[];
  readonly timings: readonly Timing[];
  readonly imageTokens: number;
  readonly generation: Generation;
}

/** What a caller who streams learns before the report. */
export type ChainEvent<Info> =
  | { readonly kind: 'image'; readonly index: number; readonly image: Info }
  | { readonly kind: 'labels'; readonly labels: readonly Label[] }
  | ({ readonly kind: 'text' } & TextDelta);

interface ChainOptions<Info> {
  /** The release's variant conditions the text on the labels. */
  readonly conditioned: boolean;
  /**
   * Receives events from the moment the generator has accepted the request, not before: until then a
   * service may turn out not to hold the release, and the chain starts again with another.
   */
  readonly emit?: ((event: ChainEvent<Info>) => void) | undefined;
}

/** One study through vision, labeler and generator, all of one release. */
export async function runChain<Tensor, Decoding, Info extends ImageInfo>(
  services: ModelServices<Tensor, Decoding, Info>,
  study: Study<Decoding>,
  call: StageCall,
  { conditioned, emit }: ChainOptions<Info>,
): Promise<ChainReport<Info>> {
  const timings = new RequestTimings();
  const embeddings = await embedAll(services, study.images, call, timings);
  const images = study.images.map(({ view }, index) => {
    const embedding = embeddings.get(index);
    return {
      view: view ?? embedding?.image.view,
      outOfDistribution: embedding?.outOfDistribution,
    };
  });
  const imageIndex = chooseView(images);
  const { tokens, imageTokens } = embeddings.get(imageIndex)!;
  const isClassified = conditioned || study.includeLabels;
  const pooled = usableImages(images).map((index) => embeddings.get(index)!.pooled);
  const labels = isClassified ? await classifyAll(services, pooled, call, timings) : [];
  const text = promptText(conditioned, labels, study.indication);
  const startMs = timings.now();
  const prompt = { tokens, text, decoding: study.decoding };
  const generation = await services.generate(
    prompt,
    call,
    emit && {
      onAccepted: () => {
        for (const [index, { image }] of embeddings) emit({ kind: 'image', index, image });
        if (isClassified) emit({ kind: 'labels', labels });
      },
      onText: (delta) => emit({ kind: 'text', ...delta }),
    },
  );
  timings.add('generator', startMs, generation.timings);
  return {
    ...splitReport(generation.text),
    labels,
    imageIndex,
    images: study.images.map((_, index) => embeddings.get(index)?.image),
    warnings: [...viewWarnings(images, imageIndex), ...textWarnings(generation)],
    timings: timings.end(),
    imageTokens,
    generation,
  };
}

/** The embeddings by index, in the order of the images. The first failure aborts the other calls. */
async function embedAll<Tensor, Info extends ImageInfo>(
  services: Pick<ModelServices<Tensor, unknown, Info>, 'embed'>,
  images: readonly StudyImage[],
  call: StageCall,
  timings: RequestTimings,
): Promise<ReadonlyMap<number, Embedding<Tensor, Info>>> {
  const others = new AbortController();
  const each = { ...call, signal: AbortSignal.any([call.signal, others.signal]) };
  const embedded = usableImages(images).map(async (index) => {
    const startMs = timings.now();
    const embedding = await services.embed(images[index]!.data, `images[${index}].data`, each);
    timings.add('vision', startMs, embedding.timings);
    return [index, embedding] as const;
  });
  try {
    return new Map(await Promise.all(embedded));
  } catch (error) {
    others.abort(error);
    await Promise.allSettled(embedded);
    throw error;
  }
}

/** Each label at its highest probability of all images, as CheXpert (Irvin et al. 2019) reads several views. */
async function classifyAll<Tensor>(
  services: Pick<ModelServices<Tensor, unknown, ImageInfo>, 'classify'>,
  pooled: readonly Tensor[],
  call: StageCall,
  timings: RequestTimings,
): Promise<readonly Label[]> {
  const startMs = timings.now();
  const classified = await Promise.all(pooled.map((each) => services.classify(each, call)));
  const [first] = classified;
  timings.add('labeler', startMs, first?.timings ?? []);
  return (first?.labels ?? []).map((label, index) =>
    classified
      .map(({ labels }) => labels[index] ?? label)
      .reduce((best, other) => (other.probability > best.probability ? other : best)),
  );
}

function textWarnings({ finishReason, generatedTokens }: Generation): readonly Warning[] {
  if (finishReason === 'end') return [];
  const message = `the text was cut off at ${generatedTokens} tokens`;
  return [{ code: 'REPORT_TRUNCATED', field: 'decoding.max_tokens', message }];
}
