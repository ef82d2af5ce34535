import sharp from 'sharp';
import { invalidArgument } from '../../errors.ts';
import { drawPatient, Frontal } from './anatomy.ts';
import { drawExposure, expose, newPlanes } from './exposure.ts';
import {
  afflict,
  byObservation,
  defaultPrevalence,
  drawFindings,
  type Finding,
  type Prevalence,
} from './findings.ts';
import { drawFrontal } from './frontal.ts';
import { frontalFindings } from './frontal-findings.ts';
import { drawLateral, Lateral } from './lateral.ts';
import { lateralFindings } from './lateral-findings.ts';
import type { Patient } from './anatomy.ts';
import { Random } from './random.ts';
import { writeReport, type WrittenReport } from './report.ts';

export type PhantomView = 'PA' | 'lateral';

export interface PhantomOptions {
  readonly seed: number;
  /** Edge length of the images in pixels, 32 to 2048. */
  readonly size: number;
  /** Share of studies with each observation, 0 to 1; an observation that is not named keeps its default. */
  readonly prevalence?: Partial<Prevalence>;
  /** Share of findings that are drawn faint and reported as uncertain; default 0.1. */
  readonly uncertain?: number;
}

/** A study that is planned but not drawn yet. */
export interface PhantomPlan {
  readonly index: number;
  readonly patient: Patient;
  readonly found: readonly Finding[];
  readonly report: WrittenReport;
}

/** The id of a study; it says nothing about its content. */
export function studyId({ seed }: PhantomOptions, index: number): string {
  return `phantom-${seed}-${index}`;
}

/** Plans study `index`: the patient, the findings and the report. Takes microseconds. */
export function planStudy(options: PhantomOptions, index: number): PhantomPlan {
  const random = Random.of(options.seed, index);
  const prevalence = { ...defaultPrevalence, ...options.prevalence };
  for (const [name, share] of Object.entries(prevalence)) {
    if (!(share >= 0 && share <= 1)) {
      throw invalidArgument(
        'PREVALENCE_RANGE',
        `prevalence[${name}]`,
        `got ${share}, expected 0 to 1`,
      );
    }
  }
  const found = drawFindings(random.fork('findings'), prevalence, options.uncertain ?? 0.1);
  return {
    index,
    patient: afflict(drawPatient(random.fork('patient')), found),
    found,
    report: writeReport(found, random.fork('report')),
  };
}

/** Draws one view of a planned study: grey bytes, row-major, `size` x `size`. */
export async function renderStudy(
  options: PhantomOptions,
  plan: PhantomPlan,
  view: PhantomView,
): Promise<Uint8Array> {
  const { seed, size } = options;
  if (!(Number.isInteger(size) && size >= 32 && size <= 2048)) {
    throw invalidArgument(
      'SIZE_RANGE',
      'size',
      `got ${size}, expected a whole number from 32 to 2048`,
    );
  }
  const random = Random.of(seed, plan.index).fork(view);
  const planes = newPlanes(size);
  if (view === 'PA') {
    const chest = new Frontal(plan.patient);
    drawFrontal(chest, planes, random.fork('anatomy'));
    for (const finding of plan.found) {
      byObservation(frontalFindings, finding, chest, planes, random.fork(finding.observation));
    }
  } else {
    const chest = new Lateral(plan.patient);
    drawLateral(chest, planes, random.fork('anatomy'));
    for (const finding of plan.found) {
      byObservation(lateralFindings, finding, chest, planes, random.fork(finding.observation));
    }
  }
  return expose(planes, size, drawExposure(random.fork('exposure')), random.fork('film'));
}

/** Grey bytes of `size` x `size` as a PNG file. */
export function encodePng(pixels: Uint8Array, size: number): Promise<Buffer> {
  return sharp(pixels, { raw: { width: size, height: size, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toBuffer();
}
