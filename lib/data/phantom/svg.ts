/** A position in the design space of 512 x 512 units, whatever size is rendered. */
export type Point = readonly [x: number, y: number];

/** Edge length of the design space; one unit is about 0.75 mm of the patient. */
export const designSize = 512;

const fixed = (value: number): string => value.toFixed(1);

/** Points along the Catmull-Rom curve through `points`, `steps` for each span, ends included. */
export function curve(points: readonly Point[], steps = 4): Point[] {
  const out: Point[] = [];
  const at = (i: number) => points[Math.max(0, Math.min(points.length - 1, i))] as Point;
  for (let i = 0; i + 1 < points.length; i += 1) {
    const [p0, p1, p2, p3] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    for (let s = 0; s < steps; s += 1) {
      const t = s / steps;
      out.push([
        catmullRom(p0[0], p1[0], p2[0], p3[0], t),
        catmullRom(p0[1], p1[1], p2[1], p3[1], t),
      ]);
    }
  }
  out.push(at(points.length - 1));
  return out;
}

function catmullRom(a: number, b: number, c: number, d: number, t: number): number {
  return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}

/** Path data of straight lines through `points`. */
export function polyline(points: readonly Point[], closed = false): string {
  const line = points.map(([x, y]) => `${fixed(x)} ${fixed(y)}`).join('L');
  return `M${line}${closed ? 'Z' : ''}`;
}

/** Path data of the smooth curve through `points`. */
export function smooth(points: readonly Point[], closed = false): string {
  const first = points[0] as Point;
  return polyline(curve(closed ? [...points, first] : points), closed);
}

/** Path data of an ellipse turned by `degrees`. */
export function ellipse(center: Point, rx: number, ry: number, degrees = 0): string {
  const turn = (degrees * Math.PI) / 180;
  const [dx, dy] = [rx * Math.cos(turn), rx * Math.sin(turn)];
  const arc = `A${fixed(rx)} ${fixed(ry)} ${fixed(degrees)} 1 1`;
  const [x, y] = center;
  return (
    `M${fixed(x - dx)} ${fixed(y - dy)}${arc} ${fixed(x + dx)} ${fixed(y + dy)}` +
    `${arc} ${fixed(x - dx)} ${fixed(y - dy)}Z`
  );
}

/** The line beside `points`, `distance` to its right as one walks along it (image axes). */
export function offset(points: readonly Point[], distance: (t: number) => number): Point[] {
  return points.map(([x, y], i) => {
    const before = points[Math.max(0, i - 1)] as Point;
    const after = points[Math.min(points.length - 1, i + 1)] as Point;
    const [dx, dy] = [after[0] - before[0], after[1] - before[1]];
    const length = Math.hypot(dx, dy) || 1;
    const d = distance(i / Math.max(1, points.length - 1));
    return [x - (dy / length) * d, y + (dx / length) * d];
  });
}

export interface Stroke {
  readonly width: number;
  readonly opacity: number;
  readonly color?: string;
}

/**
 * One grey plane of a radiograph. White paint of opacity a over a plane v gives 1 - (1 - v)(1 - a):
 * what is painted twice multiplies its transmissions, as X-rays do, and black paint takes away.
 */
export class Layer {
  readonly #elements: string[] = [];
  readonly #finest: number;
  readonly #hairlines: boolean;

  /**
   * For an image of `size` pixels. If `hairlines` is set, a stroke thinner than 0.6 pixels is widened to
   * that, so that catheters stay visible; otherwise one under 0.25 is left out.
   */
  constructor(size: number, hairlines: boolean) {
    this.#hairlines = hairlines;
    this.#finest = ((hairlines ? 0.6 : 0.25) * designSize) / size;
  }

  get isEmpty(): boolean {
    return this.#elements.length === 0;
  }

  fill(path: string, opacity: number, color = '#fff'): void {
    this.#elements.push(`<path d="${path}" fill="${color}" fill-opacity="${opacity.toFixed(3)}"/>`);
  }

  stroke(path: string, { width, opacity, color = '#fff' }: Stroke): void {
    if (width < this.#finest && !this.#hairlines) return;
    this.#elements.push(
      `<path d="${path}" fill="none" stroke="${color}" stroke-linecap="round" ` +
        `stroke-width="${fixed(Math.max(width, this.#finest))}" ` +
        `stroke-opacity="${opacity.toFixed(3)}"/>`,
    );
  }

  /** The plane as an SVG document of `pixels` x `pixels`, everything under `transform`. */
  toSvg(pixels: number, transform: string): string {
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${pixels}" height="${pixels}" ` +
      `viewBox="0 0 ${designSize} ${designSize}"><rect width="100%" height="100%" fill="#000"/>` +
      `<g transform="${transform}">${this.#elements.join('')}</g></svg>`
    );
  }
}
