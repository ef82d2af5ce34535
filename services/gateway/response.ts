import type {
  FinishReason,
  GenerateReportResponse,
  ImageInfo,
  Label as LabelMessage,
  LabelState as LabelStateName,
  Sent,
  StreamReportResponse,
} from '../../lib/rpc/messages.ts';
import type { LabelState } from '../../lib/text/labels/observations.ts';
import type { ChainEvent, ChainReport, Label } from './chain.ts';
import type { Ask } from './request.ts';
import type { Route } from './route.ts';

/** A picture as the vision service describes it, with its view in our words. */
export type Seen = Omit<ImageInfo, 'view'> & { readonly view: 'PA' | 'AP' | 'LATERAL' | undefined };

export const finishReasons = {
  end: 'FINISH_REASON_END',
  length: 'FINISH_REASON_LENGTH',
} as const satisfies Readonly<Record<string, FinishReason>>;

const stateNames = {
  positive: 'LABEL_STATE_POSITIVE',
  negative: 'LABEL_STATE_NEGATIVE',
  uncertain: 'LABEL_STATE_UNCERTAIN',
} as const satisfies Readonly<Record<NonNullable<LabelState>, LabelStateName>>;

const labelMessage = ({ state, ...label }: Label): LabelMessage => ({
  ...label,
  state: state === null ? 'LABEL_STATE_UNSPECIFIED' : stateNames[state],
});

/** From the state that the labeler says. */
export function stateOf(name: LabelStateName): LabelState {
  const known = Object.entries(stateNames).find(([, value]) => value === name);
  return known === undefined ? null : (known[0] as LabelState);
}

const imageMessage = ({ view, ...image }: Seen): ImageInfo => ({
  ...image,
  view: view === undefined ? 'VIEW_UNSPECIFIED' : `VIEW_${view}`,
});

/** The whole answer. A picture that was not looked at is described by what the caller said of it. */
export function reportMessage(
  { requestId, images }: Ask,
  { release, variant }: Pick<Route, 'release' | 'variant'>,
  report: ChainReport<Seen>,
): Sent<GenerateReportResponse> {
  const { findings, impression, labels, imageIndex, warnings, timings, generation } = report;
  return {
    requestId,
    report: { findings, impression },
    labels: labels.map(labelMessage),
    release,
    variant,
    imageIndex,
    images: report.images.map((seen, index) => {
      const { data, view } = images[index]!;
      return seen === undefined
        ? { encodedBytes: data.length, view: `VIEW_${view ?? 'UNSPECIFIED'}` as const }
        : imageMessage(seen);
    }),
    warnings,
    timings,
    tokens: {
      image: report.imageTokens,
      text: generation.textTokens,
      generated: generation.generatedTokens,
    },
    finishReason: finishReasons[generation.finishReason],
    meanLogProbability: generation.meanLogProbability,
  };
}

/** One message of a stream. */
export function eventMessage(
  ask: Ask,
  route: Pick<Route, 'release' | 'variant'>,
  event: ChainEvent<Seen>,
): Sent<StreamReportResponse> {
  if (event.kind === 'image') {
    return { imageAccepted: { index: event.index, image: imageMessage(event.image) } };
  }
  if (event.kind === 'labels') return { labels: { labels: event.labels.map(labelMessage) } };
  if (event.kind === 'text') return { text: { text: event.text, tokens: event.tokens } };
  return { report: reportMessage(ask, route, event.report) };
}
