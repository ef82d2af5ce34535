export type View = 'PA' | 'AP' | 'LATERAL';

/** What is known of one image of a study. */
export interface ImageFacts {
  /** From the caller or the DICOM file. */
  readonly view: View | undefined;
  /** Its distance from the images that the release was trained on; above 1 is too far. */
  readonly outOfDistribution?: number | undefined;
}

/** What a reader must know to judge a report. */
export interface Warning {
  readonly code:
    | 'LATERAL_ONLY'
    | 'LATERAL_NOT_USED'
    | 'VIEW_NOT_PA'
    | 'FRONTAL_NOT_USED'
    | 'OUT_OF_DISTRIBUTION'
    | 'REPORT_TRUNCATED';
  /** The path of the field that it is about, e.g. `images[1]`. */
  readonly field: string;
  readonly message: string;
}

const preference: readonly (View | undefined)[] = ['PA', undefined, 'AP', 'LATERAL'];

/** The index of the image from which the report is written: PA, else unstated, AP, lateral. */
export function chooseView(images: readonly Pick<ImageFacts, 'view'>[]): number {
  const ranks = images.map(({ view }) => preference.indexOf(view));
  return ranks.indexOf(Math.min(...ranks));
}

/** The indices of the images to embed: the frontal ones, or all if every one is lateral. */
export function usableImages(images: readonly Pick<ImageFacts, 'view'>[]): readonly number[] {
  const all = images.map((_, index) => index);
  const frontal = all.filter((index) => images[index]?.view !== 'LATERAL');
  return frontal.length > 0 ? frontal : all;
}

/** `chosen` is the index of the image from which the report is written. */
export function viewWarnings(images: readonly ImageFacts[], chosen: number): readonly Warning[] {
  const warnings: Warning[] = [];
  const warn = (code: Warning['code'], index: number, message: string): void => {
    warnings.push({ code, field: `images[${index}]`, message });
  };
  for (const [index, { view, outOfDistribution = 0 }] of images.entries()) {
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
      const message = `unlike the images that the model was trained on (distance ${far}, expected at most 1)`;
      warn('OUT_OF_DISTRIBUTION', index, message);
    }
  }
  return warnings;
}
