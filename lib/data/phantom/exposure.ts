import sharp from 'sharp';
import type { Random } from './random.ts';
import { designSize, Layer } from './svg.ts';

/** Blur of each plane in design units: soft tissue has soft edges, metal has none. */
const blurs = {
  /** Soft tissue around and between the lungs. */
  body: 3.5,
  /** Thickness of the trunk, liver and heart. */
  bulk: 16,
  /** Share of the beam's path that is air. */
  air: 1.5,
  /** Inside of the rib cage; how far in says how thick the lung is there. */
  cavity: 13,
  bone: 0.7,
  vessel: 0.8,
  /** Water instead of air: even or cloudy, soft-edged. */
  haze: 8,
  /** Water instead of air: dense, with an edge. */
  dense: 2.2,
  /** Water outside the lung, in the pleural space. */
  fluid: 2.2,
  /** Pleural air: no markings, a little blacker than lung. */
  void: 1,
  /** Fine lines: pleura, septa, calcium. */
  line: 0.5,
  metal: 0.4,
} as const;

type Plane = keyof typeof blurs;
export type Planes = Readonly<Record<Plane, Layer>>;

const names = Object.keys(blurs) as Plane[];

/** Empty planes for an image of `size` pixels. */
export function newPlanes(size: number): Planes {
  return Object.fromEntries(
    names.map((name) => [name, new Layer(size, name === 'line' || name === 'metal')]),
  ) as Record<Plane, Layer>;
}

/** How the radiograph was taken. */
export interface Exposure {
  /** Degrees the patient leans. */
  readonly tilt: number;
  readonly scale: number;
  readonly shift: readonly [x: number, y: number];
  /** Attenuation shown black and white. */
  readonly black: number;
  readonly white: number;
  readonly gamma: number;
  /** Standard deviation of the quantum noise at 512 pixels, in grey levels. */
  readonly noise: number;
}

export function drawExposure(random: Random): Exposure {
  return {
    tilt: random.normal(0, 1.4),
    scale: random.normal(1, 0.025),
    shift: [random.normal(0, 5), random.normal(0, 5)],
    black: random.uniform(-0.06, 0.03),
    white: random.uniform(1, 1.22),
    gamma: random.normal(1, 0.09),
    noise: random.uniform(2.5, 6),
  };
}

/** Renders the planes into one grey image of `size` x `size`, row-major, 0 black to 255 white. */
export async function expose(
  planes: Planes,
  size: number,
  exposure: Exposure,
  random: Random,
): Promise<Uint8Array> {
  const { tilt, scale, shift } = exposure;
  const half = designSize / 2;
  const transform =
    `translate(${half + shift[0]} ${half + shift[1]}) rotate(${tilt}) ` +
    `scale(${scale}) translate(${-half} ${-half})`;
  const rasters = await Promise.all(
    names.map(async (name) => [name, await rasterize(planes[name], size, blurs[name], transform)]),
  );
  const cloud = await texture(size, random.fork('cloud'), [9, 26, 64]);
  const grain = await texture(size, random.fork('grain'), [90, 200]);
  const plane = Object.fromEntries(rasters) as Record<Plane, Uint8Array | undefined>;
  return compose(plane, { cloud, grain }, size, exposure, random.fork('noise'));
}

/** One plane as bytes; an empty one is undefined. Wide blurs are made small and enlarged. */
async function rasterize(
  layer: Layer,
  size: number,
  blur: number,
  transform: string,
): Promise<Uint8Array | undefined> {
  if (layer.isEmpty) return undefined;
  const sigma = (blur * size) / designSize;
  const shrink = sigma >= 4 ? 4 : sigma >= 2 ? 2 : 1;
  const pixels = Math.ceil(size / shrink);
  let plane = sharp(Buffer.from(layer.toSvg(pixels, transform))).extractChannel(0);
  if (sigma / shrink >= 0.3) plane = plane.blur(sigma / shrink);
  if (shrink === 1) return plane.raw().toBuffer();
  const small = await plane.raw().toBuffer();
  return sharp(small, { raw: { width: pixels, height: pixels, channels: 1 } })
    .resize(size, size, { kernel: 'cubic', fit: 'fill' })
    .extractChannel(0)
    .raw()
    .toBuffer();
}

/** Smooth noise of several grids, mean 0, about -1 to 1. */
async function texture(
  size: number,
  random: Random,
  grids: readonly number[],
): Promise<Float32Array> {
  const out = new Float32Array(size * size);
  let weight = 1;
  for (const grid of grids) {
    const cells = Uint8Array.from({ length: grid * grid }, () => random.uint32() & 255);
    const wide = await sharp(cells, { raw: { width: grid, height: grid, channels: 1 } })
      .resize(size, size, { kernel: 'cubic', fit: 'fill' })
      .extractChannel(0)
      .raw()
      .toBuffer();
    for (let i = 0; i < out.length; i += 1)
      out[i] = (out[i] ?? 0) + (weight * ((wide[i] ?? 0) - 127.5)) / 90;
    weight *= 0.6;
  }
  return out;
}

/** Attenuation of each byte value: the plane's transmission is 1 - v / 255. */
const attenuation = Float32Array.from(
  { length: 256 },
  (_, v) => -Math.log(1 - Math.min(v, 254.5) / 255),
);

function compose(
  plane: Readonly<Record<Plane, Uint8Array | undefined>>,
  { cloud, grain }: { readonly cloud: Float32Array; readonly grain: Float32Array },
  size: number,
  { black, white, gamma, noise }: Exposure,
  random: Random,
): Uint8Array {
  const none = new Uint8Array(size * size);
  const { body = none, bulk = none, air = none, cavity = none, bone = none, vessel = none } = plane;
  const { haze = none, dense = none, fluid = none, line = none, metal = none } = plane;
  const empty = plane.void ?? none;
  const table = Uint8Array.from({ length: 1024 }, (_, i) => {
    const v = i / 1023;
    return Math.round(255 * (v * v * (3 - 2 * v) * 0.45 + v * 0.55) ** gamma);
  });
  const sigma = (noise * Math.min(1, Math.sqrt(size / designSize))) / 147.8;
  const out = new Uint8Array(size * size);
  const of = (bytes: Uint8Array, i: number) => attenuation[bytes[i] ?? 0] ?? 0;
  for (let i = 0; i < out.length; i += 1) {
    const patchy = cloud[i] ?? 0;
    const gone = (empty[i] ?? 0) / 255;
    const soaked = of(haze, i) * (1 + 0.5 * patchy) + 2.2 * of(dense, i) * (1 + 0.1 * patchy);
    const water = 1 - Math.exp(-Math.max(0, soaked) * (1 - gone) - 2.2 * of(fluid, i));
    const inside = (cavity[i] ?? 0) / 255;
    const depth = ((air[i] ?? 0) / 255) * (0.5 + 0.5 * Math.min(1, Math.max(0, 2 * inside - 0.9)));
    const left = depth * (1 - water);
    const a =
      of(body, i) +
      of(bulk, i) -
      0.52 * left -
      0.06 * gone * left +
      of(bone, i) * (0.35 + 0.65 * depth) +
      (0.75 * of(vessel, i) + 0.018 * (grain[i] ?? 0)) * left * (1 - gone) +
      of(line, i) +
      3 * of(metal, i);
    const bits = random.uint32();
    const n = (bits & 255) + ((bits >>> 8) & 255) + ((bits >>> 16) & 255) + (bits >>> 24) - 510;
    const v = (a - black) / (white - black);
    const grey = (table[Math.max(0, Math.min(1023, Math.round(v * 1023)))] ?? 0) + n * sigma;
    out[i] = Math.max(0, Math.min(255, Math.round(grey)));
  }
  return out;
}
