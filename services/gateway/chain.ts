import { labelText } from '../../lib/text/labels/label-text.ts';
import type { LabelState, Observation } from '../../lib/text/labels/observations.ts';
import { type ReportText, splitReport } from '../../lib/text/report-text.ts';
import { Timeline, type Timing } from './timeline.ts';
import { chooseView, usablePictures, type View, viewWarnings, type Warning } from './views.ts';

/** One study to write a report of. `Decoding` is handed on as it came. */
export interface Study<Decoding> {
  readonly images: readonly StudyImage[];
  readonly indication: string;
  readonly decoding: Decoding;
  /** Classify also where the variant does not need it. */
  readonly includeLabels: boolean;
}

export interface StudyImage {
  readonly data: Uint8Array;
  /** As the caller states it. */
  readonly view: View | undefined;
}

/** What every hop of a chain carries. */
export interface Hop {
  readonly release: string;
  readonly priority: 'interactive' | 'batch';
  readonly signal: AbortSignal;
}

export interface ImageInfo {
  /** From the DICOM file. */
  readonly view: View | undefined;
}

/** Features of one picture, as the vision service packs them. */
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
  /** Deltas are wanted. */
  readonly stream: boolean;
}

export type Piece =
  | { readonly kind: 'text'; readonly text: string; readonly tokens: number }
  | { readonly kind: 'end'; readonly generation: Generation };

export interface Generation {
  readonly text: string;
  readonly finishReason: 'end' | 'length';
  readonly generatedTokens: number;
  readonly textTokens: number;
  readonly meanLogProbability: number;
  readonly timings: readonly Timing[];
}

/** The model services, as the chain sees them. Errors name `field` where it is theirs. */
export interface Stages<Tensor, Decoding, Info extends ImageInfo> {
  embed(image: Uint8Array, field: string, hop: Hop): Promise<Embedding<Tensor, Info>>;
  classify(
    pooled: Tensor,
    hop: Hop,
  ): Promise<{ readonly labels: readonly Label[]; readonly timings: readonly Timing[] }>;
  generate(prompt: Prompt<Tensor, Decoding>, hop: Hop): AsyncIterable<Piece>;
}

export interface ChainReport<Info> extends ReportText {
  readonly labels: readonly Label[];
  readonly imageIndex: number;
  /** In the order of the study; undefined for a picture that was not needed. */
  readonly images: readonly (Info | undefined)[];
  readonly warnings: readonly Warning[];
  readonly timings: readonly Timing[];
  readonly imageTokens: number;
  readonly generation: Generation;
}

export type ChainEvent<Info> =
  | { readonly kind: 'image'; readonly index: number; readonly image: Info }
  | { readonly kind: 'labels'; readonly labels: readonly Label[] }
  | { readonly kind: 'text'; readonly text: string; readonly tokens: number }
  | { readonly kind: 'report'; readonly report: ChainReport<Info> };

interface ChainOptions {
  /** The release's variant conditions the text on the labels. */
  readonly conditioned: boolean;
  /** Text is wanted as it is decoded. */
  readonly stream: boolean;
}

/** One study through vision, labeler and generator, all of one release. */
export async function* runChain<Tensor, Decoding, Info extends ImageInfo>(
  stages: Stages<Tensor, Decoding, Info>,
  study: Study<Decoding>,
  hop: Hop,
  { conditioned, stream }: ChainOptions,
): AsyncGenerator<ChainEvent<Info>> {
  const timeline = new Timeline();
  const embeddings = await embedAll(stages, study.images, hop, timeline);
  for (const [index, { image }] of embeddings) yield { kind: 'image', index, image };
  const pictures = study.images.map(({ view }, index) => {
    const embedding = embeddings.get(index);
    return {
      view: view ?? embedding?.image.view,
      outOfDistribution: embedding?.outOfDistribution,
    };
  });
  const imageIndex = chooseView(pictures);
  const chosen = embeddings.get(imageIndex)!;
  let labels: readonly Label[] = [];
  if (conditioned || study.includeLabels) {
    const read = usablePictures(pictures).map((index) => embeddings.get(index)!.pooled);
    labels = await classifyAll(stages, read, hop, timeline);
    yield { kind: 'labels', labels };
  }
  const text = conditioned ? labelStream(labels) : study.indication;
  const { tokens, imageTokens } = chosen;
  const startMs = timeline.now();
  const prompt = { tokens, text, decoding: study.decoding, stream };
  for await (const piece of stages.generate(prompt, hop)) {
    if (piece.kind === 'text') {
      yield piece;
      continue;
    }
    const { generation } = piece;
    timeline.add('generator', startMs, generation.timings);
    timeline.end();
    const warnings = [...viewWarnings(pictures, imageIndex), ...textWarnings(generation)];
    const report = {
      ...splitReport(generation.text),
      labels,
      imageIndex,
      images: study.images.map((_, index) => embeddings.get(index)?.image),
      warnings,
      timings: timeline.timings(),
      imageTokens,
      generation,
    };
    yield { kind: 'report', report };
  }
}

/** The embeddings by index. One picture that fails ends the others. */
async function embedAll<Tensor, Info extends ImageInfo>(
  stages: Pick<Stages<Tensor, unknown, Info>, 'embed'>,
  images: readonly StudyImage[],
  hop: Hop,
  timeline: Timeline,
): Promise<ReadonlyMap<number, Embedding<Tensor, Info>>> {
  const others = new AbortController();
  const each = { ...hop, signal: AbortSignal.any([hop.signal, others.signal]) };
  const embedded = usablePictures(images).map(async (index) => {
    const startMs = timeline.now();
    const embedding = await stages.embed(images[index]!.data, `images[${index}].data`, each);
    timeline.add('vision', startMs, embedding.timings);
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

/** Of each label the likeliest of all pictures, as CheXpert (Irvin et al. 2019) reads several views. */
async function classifyAll<Tensor>(
  stages: Pick<Stages<Tensor, unknown, ImageInfo>, 'classify'>,
  pooled: readonly Tensor[],
  hop: Hop,
  timeline: Timeline,
): Promise<readonly Label[]> {
  const startMs = timeline.now();
  const classified = await Promise.all(pooled.map((each) => stages.classify(each, hop)));
  const [first] = classified;
  timeline.add('labeler', startMs, first?.timings ?? []);
  return (first?.labels ?? []).map((label, index) =>
    classified
      .map(({ labels }) => labels[index] ?? label)
      .reduce((best, other) => (other.probability > best.probability ? other : best)),
  );
}

const labelStream = (labels: readonly Label[]): string =>
  labelText(Object.fromEntries(labels.map(({ name, state }) => [name, state])));

function textWarnings({ finishReason, generatedTokens }: Generation): readonly Warning[] {
  if (finishReason === 'end') return [];
  const message = `the text was cut off at ${generatedTokens} tokens`;
  return [{ code: 'REPORT_TRUNCATED', field: 'decoding.maxTokens', message }];
}
