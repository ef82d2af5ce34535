/** The phantom as a dataset: studies are drawn when they are read, and use no disk. */
import { invalidArgument } from '../../errors.ts';
import { type Dataset, defineDataset, type SplitName, type StudyRecord } from '../dataset.ts';
import { fraction } from '../order.ts';
import { labelled } from '../report.ts';
import { type PhantomOptions, type PhantomView, planStudy, renderStudy, studyId } from './study.ts';

interface PhantomRecord extends StudyRecord {
  readonly index: number;
}

interface PhantomDatasetOptions extends PhantomOptions {
  /** Studies 0 to count - 1, about 80 % to train on and 10 % each to validate and to test. */
  readonly count: number;
  /** `frontal` (default): the PA image of a study. `all`: a lateral image, too. */
  readonly views?: 'frontal' | 'all';
}

/** Changes whenever the phantom draws or writes something else: then it is another dataset. */
const edition = 2;

/** The labels are those for which the reports were written. Throws COUNT_RANGE. */
export function openPhantom(options: PhantomDatasetOptions): Dataset {
  const { count, size, seed, prevalence, uncertain, views = 'frontal' } = options;
  if (!(Number.isInteger(count) && count >= 1)) {
    throw invalidArgument('COUNT_RANGE', 'count', `got ${count}, expected a whole number above 0`);
  }
  const projections: readonly PhantomView[] = views === 'all' ? ['PA', 'lateral'] : ['PA'];
  const records = Array.from({ length: count }, (_, index): PhantomRecord => {
    const id = studyId(options, index);
    return {
      id,
      index,
      split: splitOf(fraction(id, seed, 'split')),
      images: projections.map((view) => ({ name: `${id}_${view}`, view: viewOf(view) })),
      facts: JSON.stringify({ edition, size, prevalence, uncertain }),
    };
  });
  return defineDataset({
    name: 'phantom',
    records,
    leftOut: {},
    report: async ({ index }) => {
      const { report } = planStudy(options, index);
      return labelled(report, report.labels);
    },
    image: async ({ index }, at) => {
      const projection = projections[at] ?? 'PA';
      const grey = await renderStudy(options, planStudy(options, index), projection);
      return {
        width: size,
        height: size,
        pixels: Uint16Array.from(grey, (value) => value * 257),
        format: 'png',
        bitsStored: 8,
        view: viewOf(projection),
        laterality: undefined,
      };
    },
  });
}

const viewOf = (view: PhantomView) => (view === 'PA' ? 'PA' : 'LATERAL');

function splitOf(place: number): SplitName {
  if (place < 0.8) return 'train';
  return place < 0.9 ? 'validate' : 'test';
}
