import { curve, type Point } from './svg.ts';
import type { Random } from './random.ts';

export type Side = 'right' | 'left';

/** A place in a lung as fractions: mediastinum to wall, apex to base, front to back. */
export interface Spot {
  readonly side: Side;
  readonly across: number;
  readonly down: number;
  readonly deep: number;
}

interface Fracture {
  readonly side: Side;
  readonly bone: 'ribs' | 'clavicle';
  readonly ribs: readonly number[];
  /** How far the fragments stand apart. */
  readonly step: number;
}

/** What is drawn of a patient before anything is wrong. Lengths in design units. */
export interface Patient {
  readonly sex: 'female' | 'male';
  /** 0 young to 1 old: aorta, spine and bone density follow. */
  readonly age: number;
  /** 0 thin to 1 obese: wall thickness, contrast and height of the diaphragm follow. */
  readonly habitus: number;
  /** Factor on the width of the rib cage. */
  readonly width: number;
  /** Height of the right dome of the diaphragm; a deeper breath is a larger value. */
  readonly dome: number;
  /** How much lower the left dome stands. */
  readonly domeStep: number;
  /** Transverse heart diameter over inner thoracic diameter. */
  readonly cardiothoracicRatio: number;
  /** Extra half-width of the upper mediastinum. */
  readonly mediastinum: number;
  /** Turn about the long axis, -1 to 1: the front of the chest shifts against the spine. */
  readonly yaw: number;
  /** Blood held up in the lungs, 0 to 1: wide vessels, the upper ones above all. */
  readonly congestion: number;
  /** How far a lobe that lost its air pulls the dome up. */
  readonly lift: Readonly<Record<Side, number>>;
  readonly fracture: Fracture | undefined;
  /** Spacing of the ribs as a factor. */
  readonly ribSpacing: number;
  /** Downward slope of the ribs as a factor. */
  readonly ribSlope: number;
}

/** A healthy adult. */
export function drawPatient(random: Random): Patient {
  const age = random.uniform();
  const habitus = Math.min(1, Math.max(0, random.normal(0.4, 0.24)));
  return {
    sex: random.chance(0.48) ? 'female' : 'male',
    age,
    habitus,
    width: random.normal(1, 0.03),
    dome: 362 - 26 * habitus + random.normal(0, 8),
    domeStep: random.normal(11, 3),
    cardiothoracicRatio: Math.min(0.475, random.normal(0.42, 0.022) + 0.015 * habitus),
    mediastinum: 3 * age + 3 * habitus,
    yaw: random.normal(0, 0.4),
    congestion: 0,
    lift: { right: 0, left: 0 },
    fracture: undefined,
    ribSpacing: random.normal(1, 0.03),
    ribSlope: random.normal(1, 0.14),
  };
}

/** Inner edge of the rib cage: distance from the midline, height. */
const cage: readonly Point[] = [
  [0, 50],
  [36, 52],
  [66, 62],
  [98, 82],
  [126, 112],
  [148, 146],
  [165, 186],
  [178, 230],
  [188, 280],
  [195, 330],
  [199, 380],
  [200, 430],
  [198, 520],
];

/** The chest from the front: every drawing of a frontal view takes its positions from it. */
export class Frontal {
  readonly patient: Patient;
  readonly midline = 256;

  constructor(patient: Patient) {
    this.patient = patient;
  }

  /** The x of a distance from the midline in the image: the patient's left is on its right. */
  x(side: Side, distance: number): number {
    return this.midline + (side === 'left' ? distance : -distance);
  }

  at(side: Side, points: readonly Point[]): Point[] {
    return points.map(([d, y]) => [this.x(side, d), y]);
  }

  /** Inner half-width of the rib cage at height `y`. */
  half(y: number): number {
    let i = cage.findIndex((point) => point[1] > y);
    if (i < 0) i = cage.length - 1;
    const [below, above] = [cage[Math.max(0, i - 1)] as Point, cage[i] as Point];
    const t = Math.min(1, Math.max(0, (y - below[1]) / (above[1] - below[1] || 1)));
    return (below[0] + t * (above[0] - below[0])) * this.patient.width;
  }

  /** Inner edge of the rib cage on one side, from the top to height `to`. */
  wall(to: number): Point[] {
    const inside = cage.filter((point) => point[1] < to);
    return [
      ...inside.map(([d, y]): Point => [d * this.patient.width, y]),
      [this.half(to), to] as const,
    ];
  }

  dome(side: Side): number {
    const { dome, domeStep, lift } = this.patient;
    return dome + (side === 'left' ? domeStep : 0) - lift[side];
  }

  /** Height of the costophrenic angle. */
  angle(side: Side): number {
    return this.dome(side) + this.patient.lift[side] + 54;
  }

  /** The dome of the diaphragm from the midline outwards: distance, height. */
  diaphragm(side: Side): Point[] {
    const y = this.dome(side);
    const edge = this.half(this.angle(side));
    return [
      [14, y + 26],
      [0.24 * edge, y + 11],
      [0.5 * edge, y],
      [0.72 * edge, y + 7],
      [0.89 * edge, y + 28],
      [edge - 1.5, this.angle(side)],
    ];
  }

  /** Air of one lung as distance and height, before heart and mediastinum lie over it. */
  lung(side: Side): Point[] {
    const wall = this.wall(this.angle(side)).slice(1);
    return curve([[14, 100], [22, 68], ...wall])
      .concat(curve(this.diaphragm(side).toReversed()))
      .concat([[14, 130]]);
  }

  /** Half-diameters of the heart: they sum to the ratio times the inner thoracic diameter. */
  heart(): Readonly<Record<Side, number>> {
    const diameter = this.patient.cardiothoracicRatio * this.thoracicDiameter();
    return { right: 0.31 * diameter, left: 0.69 * diameter };
  }

  /** Greatest inner width of the chest above the costophrenic angles. */
  thoracicDiameter(): number {
    return 2 * this.half(this.angle('right'));
  }

  /** Outline of heart and great vessels, closed, in image coordinates. */
  mediastinum(): Point[] {
    const { patient } = this;
    const { right, left } = this.heart();
    const base = this.patient.dome + this.patient.domeStep + 16;
    const y = (t: number) => 214 + (base - 214) * t;
    const wide = patient.mediastinum;
    const knob = 35 + wide + 5 * patient.age;
    const shift = 6 * patient.yaw;
    const outline: Point[] = [
      [-21, 40],
      [-23 - 0.5 * wide, 80],
      [-25 - wide, 112],
      [-26 - wide, 160],
      [-28 - 0.8 * wide, 196],
      [-0.74 * right - 4, y(0.1)],
      [-0.95 * right, y(0.36)],
      [-right, y(0.6)],
      [-0.92 * right, y(0.84)],
      [-0.6 * right, y(1.04)],
      [0, y(1.12)],
      [0.7 * left, y(1.1)],
      [0.93 * left, y(0.98)],
      [left, y(0.8)],
      [0.92 * left, y(0.6)],
      [0.7 * left, y(0.32)],
      [0.4 * left + 8, y(0.06)],
      [34 + 0.6 * wide, 203],
      [29 + 0.9 * wide, 184],
      [knob, 165],
      [knob - 0.5, 147],
      [28 + wide, 128],
      [25 + 0.7 * wide, 104],
      [22 + 0.4 * wide, 74],
      [20, 40],
    ];
    return outline.map(([x, h]) => [this.midline + x + shift, h]);
  }

  /** The point of the image for a place in a lung, given as fractions across and down. */
  spot({ side, across, down }: Spot): Point {
    const y = 84 + down * (this.dome(side) - 84);
    const inner = side === 'left' && down > 0.55 ? 40 + 0.5 * this.heart().left * down : 42;
    return [this.x(side, inner + across * (this.half(y) - inner)), y];
  }

  hilum(side: Side): Point {
    const wide = 0.5 * this.patient.mediastinum;
    return side === 'right' ? [this.x(side, 40 + wide), 212] : [this.x(side, 44 + wide), 200];
  }

  /** The course of rib `number` (1 to 10): behind from the spine to the wall, then in front. */
  rib(side: Side, number: number): { readonly posterior: Point[]; readonly anterior: Point[] } {
    const { ribSpacing, ribSlope } = this.patient;
    const start = 62 + (number - 1) * 29.5 * ribSpacing;
    const drop = (30 + 3.4 * number) * ribSlope;
    const end = start + drop + (number === 1 ? -6 : 8);
    const wall = Math.max(74, this.half(end) + 4);
    const posterior: Point[] = [
      [20, start],
      [0.28 * wall + 8, start - 8],
      [0.55 * wall, start - 3 + 0.14 * drop],
      [0.8 * wall, start + 0.42 * drop],
      [0.945 * wall, start + 0.72 * drop],
      [wall, end],
    ];
    const front = (0.9 + 0.1 * ribSlope) * (18 + 5 * number);
    const tip = Math.max(44, 0.44 * this.half(end + front));
    const anterior: Point[] = [
      [wall, end],
      [Math.min(wall, this.half(end + 0.3 * front) + 2), end + 0.3 * front],
      [0.9 * wall, end + 0.62 * front],
      [0.72 * wall, end + 0.86 * front + 6],
      [Math.max(tip, 0.5 * wall), end + front + 12],
    ];
    return { posterior: this.at(side, curve(posterior)), anterior: this.at(side, curve(anterior)) };
  }

  /** The course of the clavicle from the sternum to the shoulder. */
  clavicle(side: Side): Point[] {
    const shift = (side === 'left' ? 1 : -1) * 7 * this.patient.yaw;
    const rise = 4 * this.patient.age;
    return this.at(
      side,
      curve([
        [20 + shift, 118 - rise],
        [44 + shift, 108 - rise],
        [84, 92],
        [126, 84],
        [168, 82],
        [204, 74],
      ]),
    );
  }
}
