import { extractLabels } from '../text/labels/extract.ts';
import type { Labels, Report } from './dataset.ts';

export interface Sections {
  readonly findings: string;
  readonly impression: string;
  readonly indication: string;
}

/** The sections with the given labels, or else with those that our rules extract from them. */
export function labelled(sections: Sections, given: Labels | undefined): Report {
  const { findings, impression, indication } = sections;
  return {
    findings,
    impression,
    indication,
    labels: given ?? extractLabels(`${findings}\n${impression}`),
    labelsFrom: given ? 'given' : 'extracted',
  };
}
