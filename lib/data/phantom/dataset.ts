import { invalidArgument } from '../../errors.ts';
import { type Dataset, type StudyRecord, defineDataset, type SplitName } from '../dataset.ts';
import { fraction } from '../order.ts';
import { labelled } from '../report.ts';
import { type PhantomOptions, planStudy, renderStudy, studyId } from './study.ts';

interface PhantomRecord extends StudyRecord {
  readonly index: number;
}

export interface PhantomDatasetOptions extends PhantomOptions {
  /** Studies 0 to count - 1, about 80 % to train on and 10 % each to validate and to test. */
  readonly count: number;
}

/** Changes when the phantom draws or writes something else, for then it is another dataset. */
const edition = 1;

/** Phantom studies drawn when they are read: a dataset that takes no disk. */
export function openPhantom(options: PhantomDatasetOptions): Dataset {
  const { count, size, seed, prevalence, uncertain } = options;
  if (!(Number.isInteger(count) && count >= 1)) {
    throw invalidArgument('COUNT_RANGE', 'count', `got ${count}, expected a whole number above 0`);
  }
  const records = Array.from({ length: count }, (_, index): PhantomRecord => {
    const id = studyId(options, index);
    return {
      id,
      index,
      split: splitOf(fraction(id, seed, 'split')),
      images: [{ name: `${id}_PA`, view: 'PA' }],
      facts: JSON.stringify({ edition, size, prevalence, uncertain }),
    };
  });
  return defineDataset({
    name: 'phantom',
    records,
    leftOut: {},
    report: async ({ index }) => labelled(planStudy(options, index).report, undefined),
    image: async ({ index }) => {
      const grey = await renderStudy(options, planStudy(options, index), 'PA');
      return {
        width: size,
        height: size,
        pixels: Uint16Array.from(grey, (value) => value * 257),
        format: 'png',
        bitsStored: 8,
        view: 'PA',
        laterality: undefined,
      };
    },
  });
}

function splitOf(place: number): SplitName {
  if (place < 0.8) return 'train';
  return place < 0.9 ? 'validate' : 'test';
}
