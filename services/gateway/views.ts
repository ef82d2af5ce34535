export type View = 'PA' | 'AP' | 'LATERAL';

/** One picture of a study, as far as it is known. */
export interface Picture {
  /** From the caller or the DICOM file. */
  readonly view: View | undefined;
  /** How far it lies from the pictures that the release was trained on; above 1 is too far. */
  readonly outOfDistribution?: number | undefined;
}

/** What a caller must know to judge a report. */
export interface Warning {
  readonly code:
    | 'LATERAL_ONLY'
    | 'LATERAL_NOT_USED'
    | 'VIEW_NOT_PA'
    | 'FRONTAL_NOT_USED'
    | 'OUT_OF_DISTRIBUTION'
    | 'REPORT_TRUNCATED';
  /** The picture or option meant, e.g. `images[1]`. */
  readonly field: string;
  readonly message: string;
}

const preference: readonly (View | undefined)[] = ['PA', undefined, 'AP', 'LATERAL'];

/** The index of the picture that the report is written from: PA, else unstated, AP, lateral. */
export function chooseView(pictures: readonly Pick<Picture, 'view'>[]): number {
  const ranks = pictures.map(({ view }) => preference.indexOf(view));
  return ranks.indexOf(Math.min(...ranks));
}

/** Pictures worth a run of the vision model: laterals are left out where there is a frontal. */
export function usablePictures(pictures: readonly Pick<Picture, 'view'>[]): readonly number[] {
  const all = pictures.map((_, index) => index);
  const frontal = all.filter((index) => pictures[index]?.view !== 'LATERAL');
  return frontal.length > 0 ? frontal : all;
}

/** `chosen` is the index of the picture that the report is written from. */
export function viewWarnings(pictures: readonly Picture[], chosen: number): readonly Warning[] {
  const warnings: Warning[] = [];
  const warn = (code: Warning['code'], index: number, message: string): void => {
    warnings.push({ code, field: `images[${index}]`, message });
  };
  for (const [index, { view, outOfDistribution = 0 }] of pictures.entries()) {
    if (index !== chosen) {
      if (view === 'LATERAL') {
        warn('LATERAL_NOT_USED', index, 'lateral view given; the report is from the frontal view');
      } else {
        const message = `the report text is from images[${chosen}]; this view adds to the labels only`;
        warn('FRONTAL_NOT_USED', index, message);
      }
    } else if (view === 'LATERAL') {
      warn(
        'LATERAL_ONLY',
        index,
        'only a lateral view was given; the model is trained on PA views',
      );
    } else if (view === 'AP') {
      warn('VIEW_NOT_PA', index, 'AP view given; the model is trained on PA views');
    }
    if (outOfDistribution > 1) {
      const far = outOfDistribution.toFixed(1);
      const message = `unlike the radiographs that the model is trained on (score ${far}, at most 1 expected)`;
      warn('OUT_OF_DISTRIBUTION', index, message);
    }
  }
  return warnings;
}
