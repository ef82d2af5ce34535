import { type Measured, bootstrap } from '../../text/metrics/bootstrap.ts';
import { clinicalScores, decide } from '../../text/metrics/clinical.ts';
import { type LabelState, observations } from '../../text/labels/observations.ts';
import type { PreparedStudy } from '../data/prepared.ts';
import type { Row } from './tables.ts';

const named = (labels: readonly LabelState[]) =>
  Object.fromEntries(observations.map((name, i) => [name, labels[i] ?? null]));

/** The classifier's labels against those of the reports. */
export function classifierRow(
  studies: readonly PreparedStudy[],
  decided: readonly (readonly LabelState[])[],
  options: { readonly seed: number; readonly samples: number },
): Row {
  const rows = studies.map(({ labels }, i) =>
    decide(
      { candidate: named(decided[i] ?? []), reference: named(labels) },
      observations,
      'positive',
    ),
  );
  const figures: Record<string, Measured> = bootstrap(
    rows,
    (drawn) => {
      const { micro, macro, accuracy } = clinicalScores(drawn, observations);
      return {
        microPrecision: micro.precision,
        microRecall: micro.recall,
        microF1: micro.f1,
        macroF1: macro.f1,
        accuracy,
      };
    },
    options,
  );
  return {
    metrics: Object.fromEntries(Object.entries(figures).map(([name, { value }]) => [name, value])),
    intervals: Object.fromEntries(
      Object.entries(figures).map(([name, { low, high }]) => [name, [low, high] as const]),
    ) as Record<string, [number, number]>,
  };
}
