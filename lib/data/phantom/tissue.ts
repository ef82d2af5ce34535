import type { Planes } from './exposure.ts';
import type { Finding } from './findings.ts';
import type { Random } from './random.ts';
import { ellipse, type Layer, offset, type Point, polyline, smooth } from './svg.ts';

/** Two parallel cortices and what lies between; the lower edge of a rib is the denser. */
export function drawBand(
  bone: Layer,
  line: readonly Point[],
  width: (t: number) => number,
  density: number,
): void {
  const upper = offset(line, (t) => -width(t) / 2);
  const lower = offset(line, (t) => width(t) / 2);
  bone.fill(polyline([...upper, ...lower.toReversed()], true), 0.58 * density);
  bone.stroke(polyline(upper), { width: 1.5, opacity: 0.55 * density });
  bone.stroke(polyline(lower), { width: 1.9, opacity: 0.8 * density });
}

/** The line of a bone in two pieces that no longer meet, the outer one tipped away. */
export function broken(line: readonly Point[], at: number, step: number): [Point[], Point[]] {
  const cut = Math.round(at * (line.length - 1));
  const shifted = offset(line.slice(cut - 1), (t) => step * (1 - 0.75 * t));
  return [line.slice(0, cut + 1), shifted];
}

/** The ends of a fracture are bright, for there the fragments overlap. */
export function markBreak(bone: Layer, pieces: readonly (readonly Point[])[]): void {
  const ends = [pieces[0]?.at(-1), pieces[1]?.[0]];
  for (const end of ends) if (end) bone.fill(ellipse(end, 4.5, 6.5), 0.16);
}

export interface Branch {
  readonly from: Point;
  /** Angle below the horizontal, outwards. */
  readonly turn: number;
  /** 1 to the right of the image, -1 to the left. */
  readonly out: number;
  readonly width: number;
  readonly length: number;
}

/** Paints vessels and their branches, thinner and shorter at each fork. */
export function drawVessels(layer: Layer, random: Random, trunks: readonly Branch[]): void {
  // One path for each width: a plane of a thousand paths is slow to render.
  const courses = new Map<number, string[]>();
  for (const trunk of trunks) grow(trunk, 0, random, courses);
  for (const [width, paths] of courses) {
    layer.stroke(paths.join(''), { width, opacity: Math.min(0.24, 0.02 + 0.045 * width) });
  }
}

function grow(branch: Branch, depth: number, random: Random, courses: Map<number, string[]>): void {
  const { from, turn, out, width, length } = branch;
  let [at, angle] = [from, turn];
  const course: Point[] = [from];
  for (let step = 0; step < 3; step += 1) {
    angle += random.normal(0, 0.17);
    const stride = (length / 3) * random.uniform(0.8, 1.2);
    at = [at[0] + out * Math.cos(angle) * stride, at[1] + Math.sin(angle) * stride];
    course.push(at);
  }
  const shown = Math.ceil(2 * width) / 2;
  const group = courses.get(shown) ?? [];
  courses.set(shown, group);
  group.push(polyline(course));
  if (depth >= 5 || width < 0.9) return;
  const sign = random.chance(0.5) ? 1 : -1;
  const fork = (bend: number, scale: number, origin: Point) => {
    const child = { from: origin, turn: angle + sign * bend, out, width: width * scale };
    grow({ ...child, length: length * (0.55 + 0.35 * scale) }, depth + 1, random, courses);
  };
  fork(random.uniform(0.1, 0.3), 0.8, at);
  fork(random.uniform(-0.75, -0.4), 0.62, at);
  if (depth < 3) fork(random.uniform(0.5, 1), 0.5, course[2] as Point);
}

/** A number that is larger for a certain finding than for an uncertain one. */
export function faint(finding: Finding, sure: number, unsure: number): number {
  return finding.certainty === 'positive' ? sure : unsure;
}

/** A closed outline about `center`, uneven as grown things are. */
export function lump(center: Point, radius: number, uneven: number, random: Random): string {
  const points = Array.from({ length: 9 }, (_, i): Point => {
    const turn = (2 * Math.PI * i) / 9;
    const r = radius * (1 + uneven * random.uniform(-1, 1));
    return [center[0] + r * Math.cos(turn), center[1] + r * Math.sin(turn)];
  });
  return smooth(points, true);
}

/** The mean of the points. */
export function middle(points: readonly Point[]): Point {
  const sum = points.reduce(([x, y], point) => [x + point[0], y + point[1]], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}

/** A tube: a hollow wall and the opaque stripe that makes it visible. */
export function drawTube({ metal }: Planes, course: readonly Point[], width: number): void {
  const path = smooth(course);
  metal.stroke(path, { width, opacity: 0.05 });
  metal.stroke(path, { width: Math.max(2, 0.3 * width), opacity: 0.2 });
}

export function drawWire({ metal }: Planes, course: readonly Point[]): void {
  metal.stroke(smooth(course), { width: 2.6, opacity: 0.2 });
}
