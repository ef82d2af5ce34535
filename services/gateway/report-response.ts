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
import type { ChainReport, Label } from './chain.ts';
import type { RoutedEvent } from './outbox.ts';
import type { ReportRequest } from './report-request.ts';
import type { Route } from './route.ts';
import type { View } from './views.ts';

/** An image as the vision service describes it, with the domain's name of its view. */
export type DescribedImage = Omit<ImageInfo, 'view'> & { readonly view: View | undefined };

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

/** The state that a message names. */
export function stateOf(name: LabelStateName): LabelState {
  const known = Object.entries(stateNames).find(([, value]) => value === name);
  return known === undefined ? null : (known[0] as LabelState);
}

const imageMessage = ({ view, ...image }: DescribedImage): ImageInfo => ({
  ...image,
  view: view === undefined ? 'VIEW_UNSPECIFIED' : `VIEW_${view}`,
});

/** The complete report. An image that was not embedded is described by what the caller states. */
export function reportMessage(
  { requestId, images }: ReportRequest,
  { release, variant }: Pick<Route, 'release' | 'variant'>,
  report: ChainReport<DescribedImage>,
): Sent<GenerateReportResponse> {
  const { findings, impression, labels, imageIndex, warnings, timings, generation } = report;
  return {
    requestId,
    report: { findings, impression },
    labels: labels.map(labelMessage),
    release,
    variant,
    imageIndex,
    images: report.images.map((described, index) => {
      const { data, view } = images[index]!;
      return described === undefined
        ? { encodedBytes: data.length, view: `VIEW_${view ?? 'UNSPECIFIED'}` as const }
        : imageMessage(described);
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

/** One message of a stream; the last, with the report, is `reportMessage`. */
export function eventMessage({
  event,
  route: { release },
}: RoutedEvent<DescribedImage>): Sent<StreamReportResponse> {
  if (event.kind === 'image') {
    return { release, imageAccepted: { index: event.index, image: imageMessage(event.image) } };
  }
  if (event.kind === 'labels')
    return { release, labels: { labels: event.labels.map(labelMessage) } };
  return { release, text: { text: event.text, tokens: event.tokens } };
}
