import type { Tensor } from '../graph/types.ts';
import type { PreparedStudy } from './data/prepared.ts';
import type { StageEngine } from './engine.ts';
import { type FeedSource, makeFeeds, unstacked } from './feeds.ts';

export interface Validation {
  readonly loss: number;
  /** Teacher-forced, over all answered tokens; for stages that train on reports. */
  readonly accuracy?: number;
  /** Micro F1 of the labels at a probability of one half; for stages that train on labels. */
  readonly labelF1?: number;
}

const first = (tensor: Tensor | undefined): number => Number(tensor?.data[0] ?? 0);

/** One pass over the validation studies, without augmentation or dropout, as in serving. */
export async function validate(
  engine: StageEngine,
  source: FeedSource,
  studies: readonly PreparedStudy[],
  batch: number,
): Promise<Validation> {
  let [loss, rows, correct, counted] = [0, 0, 0, 0];
  const decided = { both: 0, wrong: 0 };
  for (let at = 0; at < studies.length; at += batch) {
    const part = studies.slice(at, at + batch);
    const feeds = unstacked(
      await makeFeeds(source, { studies: part, size: part.length, epoch: null }),
    );
    // The feeds are read again below, so their memory is not transferred.
    const result = await engine.validate(feeds);
    loss += first(result['loss']) * part.length;
    rows += part.length;
    counted += first(result['counted']);
    correct += first(result['accuracy']) * first(result['counted']);
    if (result['logits']) countLabels(result['logits'], feeds, decided);
  }
  return {
    loss: loss / rows,
    ...(counted > 0 && { accuracy: correct / counted }),
    ...(source.plan.labelLoss > 0 && {
      labelF1: (2 * decided.both) / Math.max(1, 2 * decided.both + decided.wrong),
    }),
  };
}

function countLabels(
  logits: Tensor,
  feeds: Readonly<Record<string, Tensor>>,
  decided: { both: number; wrong: number },
): void {
  const [targets, labelled] = [feeds['targets']?.data ?? [], feeds['labelled']?.data ?? []];
  for (let i = 0; i < logits.data.length; i++) {
    if (labelled[i] !== 1) continue;
    const [decision, truth] = [Number(logits.data[i]) > 0, targets[i] === 1];
    if (decision && truth) decided.both += 1;
    else if (decision !== truth) decided.wrong += 1;
  }
}
