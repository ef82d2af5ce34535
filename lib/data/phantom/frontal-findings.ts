import type { Frontal, Side } from './anatomy.ts';
import { drawDevice } from './frontal-devices.ts';
import { type Finding, lobeSide, type PerAbnormality } from './findings.ts';
import type { Planes } from './exposure.ts';
import { frontalLobe } from './lobes.ts';
import type { Random } from './random.ts';
import { curve, ellipse, type Point, polyline, smooth } from './svg.ts';
import { faint, lump, middle } from './tissue.ts';

/** The chest is drawn already, with what `afflict` changed; nothing is added. */
const anatomy = (): void => {};

/** How each finding looks from the front. Water is painted freely: it shows only where air was. */
export const frontalFindings: PerAbnormality<readonly [Frontal, Planes, Random], void> = {
  'Enlarged Cardiomediastinum': anatomy,
  Cardiomegaly: anatomy,
  Fracture: anatomy,
  'Lung Lesion': drawLesion,
  'Lung Opacity': drawOpacity,
  Edema: drawEdema,
  Consolidation: drawConsolidation,
  Pneumonia: drawPneumonia,
  Atelectasis: drawAtelectasis,
  Pneumothorax: drawPneumothorax,
  'Pleural Effusion': drawEffusion,
  'Pleural Other': drawPleura,
  'Support Devices': (finding, chest, planes) => {
    for (const device of finding.devices) drawDevice[device](chest, planes, finding.side);
  },
};

function drawLesion(
  finding: Finding<'Lung Lesion'>,
  chest: Frontal,
  { dense }: Planes,
  random: Random,
): void {
  for (const spot of finding.spots) {
    const radius =
      finding.form === 'mass' ? 18 + 30 * (finding.severity - 0.55) : random.uniform(8.5, 12);
    const outline = lump(
      chest.spot(spot),
      faint(finding, radius, 7.5),
      finding.form === 'mass' ? 0.14 : 0.07,
      random,
    );
    dense.fill(outline, faint(finding, 0.55, 0.22));
  }
}

function drawOpacity(
  finding: Finding<'Lung Opacity'>,
  chest: Frontal,
  { haze }: Planes,
  random: Random,
): void {
  const at = chest.spot(finding.spot);
  const size = 30 + 20 * finding.severity;
  haze.fill(
    ellipse(at, size * 1.15, size * 0.85, random.uniform(-30, 30)),
    faint(finding, 0.55, 0.24),
  );
  haze.fill(
    ellipse(
      [at[0] + random.uniform(-12, 12), at[1] + random.uniform(-12, 12)],
      size * 0.6,
      size * 0.5,
    ),
    faint(finding, 0.35, 0.1),
  );
}

function drawEdema(
  finding: Finding<'Edema'>,
  chest: Frontal,
  { haze, line }: Planes,
  random: Random,
): void {
  const strength = faint(finding, 1, 0.5);
  for (const side of ['right', 'left'] as const) {
    const [x, y] = chest.hilum(side);
    const out = side === 'left' ? 1 : -1;
    const wing = finding.form === 'alveolar' ? 0.5 + 0.2 * finding.severity : 0.26;
    haze.fill(ellipse([x + 34 * out, y + 34], 58, 84, -14 * out), wing * strength);
    haze.fill(ellipse([x + 26 * out, y + 26], 38, 58, -14 * out), 0.6 * wing * strength);
    // Kerley B: septa at the edge of the bases, level and a centimetre or two long.
    const bottom = chest.angle(side) - 26;
    for (let i = 0; i < 11; i += 1) {
      const h = bottom - 7.5 * i + random.uniform(-1.5, 1.5);
      const wall = chest.half(h) - 2;
      const ends = chest.at(side, [
        [wall, h],
        [wall - random.uniform(14, 24), h + random.uniform(-2, 2)],
      ]);
      line.stroke(polyline(ends), { width: 1.7, opacity: 0.2 * strength });
    }
    for (let i = 0; i < 60; i += 1) {
      const turn = random.uniform(-1.3, 1.45);
      const far = random.uniform(24, 118);
      const at: Point = [x + out * far * Math.cos(turn), y + 18 + 1.15 * far * Math.sin(turn)];
      const lean = turn + random.normal(0, 0.8);
      const to: Point = [at[0] + out * 11 * Math.cos(lean), at[1] + 11 * Math.sin(lean)];
      line.stroke(polyline([at, to]), { width: 1.6, opacity: 0.07 * strength });
    }
  }
  const fissure = chest.at(
    'right',
    curve([
      [52, 228],
      [110, 226],
      [chest.half(232) - 3, 236],
    ]),
  );
  line.stroke(polyline(fissure), { width: 2.2, opacity: 0.14 * strength });
}

function drawConsolidation(
  finding: Finding<'Consolidation'>,
  chest: Frontal,
  { dense, haze }: Planes,
  random: Random,
): void {
  const side = lobeSide(finding.lobe);
  const outline = chest.at(side, frontalLobe(chest, finding.lobe));
  const path = polyline(curve([...outline, outline[0] as Point]), true);
  if (finding.certainty === 'uncertain') {
    haze.fill(path, 0.3);
    return;
  }
  const depth = 0.34 + 0.16 * finding.severity;
  // Only a fissure gives a straight edge; elsewhere the border fades into air.
  const fissure = finding.lobe === 'right upper lobe' || finding.lobe === 'right middle lobe';
  dense.fill(path, fissure ? depth : 0.5 * depth);
  haze.fill(path, fissure ? 0 : 0.6);
  // Bronchi still hold air and stand out black.
  const from = chest.hilum(side);
  for (let i = 0; i < 4; i += 1) {
    const far = outline[(i * 2 + 1) % outline.length] as Point;
    const [x, y] = middle(outline);
    const to: Point = [0.5 * (far[0] + x), 0.5 * (far[1] + y)];
    const knee: Point = [
      0.5 * (from[0] + to[0]) + random.normal(0, 5),
      0.5 * (from[1] + to[1]) + random.normal(0, 5),
    ];
    dense.stroke(smooth([from, knee, to]), { width: 4.2, opacity: 0.75, color: '#000' });
  }
}

function drawPneumonia(
  finding: Finding<'Pneumonia'>,
  chest: Frontal,
  { dense, haze }: Planes,
  random: Random,
): void {
  for (const lobe of finding.lobes) {
    const side = lobeSide(lobe);
    const [d, y] = middle(frontalLobe(chest, lobe));
    haze.fill(ellipse([chest.x(side, d), y], 48, 42), faint(finding, 0.38, 0.18));
    const count = finding.certainty === 'positive' ? 18 + Math.round(8 * finding.severity) : 10;
    for (let i = 0; i < count; i += 1) {
      const [turn, far] = [random.uniform(0, 2 * Math.PI), 46 * Math.sqrt(random.uniform())];
      const at: Point = [chest.x(side, d + far * Math.cos(turn)), y + far * Math.sin(turn)];
      dense.fill(lump(at, random.uniform(7, 15), 0.3, random), faint(finding, 0.15, 0.07));
    }
  }
}

function drawAtelectasis(
  finding: Finding<'Atelectasis'>,
  chest: Frontal,
  { dense, haze }: Planes,
  random: Random,
): void {
  for (const side of finding.sides) {
    const dome = chest.dome(side);
    if (finding.form === 'collapse') {
      // The lower lobe folds down against the spine: a sail behind the heart.
      const sail: Point[] = [
        [24, 226],
        [40, 236],
        [104, dome - 2],
        [120, dome + 16],
        [12, dome + 26],
      ];
      dense.fill(smooth(chest.at(side, sail), true), 0.5);
      haze.fill(ellipse([chest.x(side, 96), dome - 6], 70, 24), 0.3);
      continue;
    }
    const count = finding.certainty === 'positive' ? 3 + Math.round(3 * finding.severity) : 1;
    for (let i = 0; i < count; i += 1) {
      const y = dome - 12 - 15 * i + random.uniform(-4, 4);
      const from = random.uniform(56, 88);
      const to = Math.min(chest.half(y) - 12, from + random.uniform(60, 100));
      const tilt = random.uniform(-10, 14);
      const plate: Point[] = [
        [from, y],
        [0.5 * (from + to), y + 0.3 * tilt],
        [to, y + tilt],
      ];
      dense.stroke(smooth(chest.at(side, plate)), {
        width: random.uniform(4, 6),
        opacity: faint(finding, 0.5, 0.24),
      });
    }
    haze.fill(ellipse([chest.x(side, 110), dome - 12], 72, 22), faint(finding, 0.26, 0.12));
  }
}

function drawPneumothorax(finding: Finding<'Pneumothorax'>, chest: Frontal, planes: Planes): void {
  const { side } = finding;
  const gap = faint(finding, 20 + 46 * finding.severity, 11);
  const edge: Point[] = [
    [20, 70 + 1.25 * gap],
    [50, 66 + 1.2 * gap],
    [Math.max(64, chest.half(120) - 1.05 * gap), 112 + 0.9 * gap],
    [chest.half(190) - 1.05 * gap, 186],
    [chest.half(260) - gap, 260],
    [chest.half(330) - 0.8 * gap, 330],
    [chest.half(390) - 0.35 * gap, chest.angle(side) - 12],
  ];
  const pleura = curve(edge);
  const outer = chest.wall(chest.angle(side)).toReversed();
  planes.void.fill(polyline(chest.at(side, [...pleura, ...outer, [10, 60]]), true), 1);
  planes.line.stroke(polyline(chest.at(side, pleura)), {
    width: 2,
    opacity: faint(finding, 0.2, 0.1),
  });
  // The collapsed lung holds less air.
  const lung: Point[] = [...pleura, [60, chest.dome(side) + 20], [10, 320]];
  planes.haze.fill(polyline(chest.at(side, lung), true), 0.05 + 0.2 * finding.severity);
}

function drawEffusion(finding: Finding<'Pleural Effusion'>, chest: Frontal, planes: Planes): void {
  finding.sides.forEach((side, i) => {
    const height = faint(finding, 40 + 125 * finding.severity, 22) * (i === 0 ? 1 : 0.75);
    const bottom = chest.angle(side);
    const top = bottom - height;
    const wall = chest.half(top) + 3;
    // The meniscus climbs at the wall and, less, at the mediastinum.
    const dip = Math.min(44, 0.7 * height + 8);
    const level: Point[] = [
      [wall, top],
      [0.93 * wall, top + 0.45 * dip],
      [0.78 * wall, top + 0.85 * dip],
      [0.52 * wall, top + dip],
      [0.28 * wall, top + 0.93 * dip],
      [10, top + 0.7 * dip],
    ];
    const fluid = [
      ...curve(level),
      [10, bottom + 40],
      [chest.half(bottom) + 4, bottom + 40],
    ] as Point[];
    planes.fluid.fill(polyline(chest.at(side, fluid), true), 0.8);
    planes.haze.fill(
      polyline(
        chest.at(
          side,
          fluid.map(([d, y]): Point => [d, y - 10]),
        ),
        true,
      ),
      0.3,
    );
  });
}

function drawPleura(
  finding: Finding<'Pleural Other'>,
  chest: Frontal,
  planes: Planes,
  random: Random,
): void {
  for (const side of finding.sides) {
    if (finding.form === 'thickening') drawThickening(finding, chest, planes, side, random);
    else drawPlaques(finding, chest, planes, side, random);
  }
}

/** A cap over the apex that runs down the wall as a rind. */
function drawThickening(
  finding: Finding<'Pleural Other'>,
  chest: Frontal,
  { dense }: Planes,
  side: Side,
  random: Random,
): void {
  const thick = faint(finding, 17 + 11 * finding.severity, 9);
  const outer = chest.wall(250);
  const inner = outer.map(([d, y]): Point => {
    const cap = y < 130 ? 1 : Math.max(0.25, 1 - (y - 130) / 130);
    const t = thick * cap * random.uniform(0.85, 1.15);
    return [Math.max(8, d - 0.7 * t), y + (y < 130 ? 1.15 * t : 0)];
  });
  const rind = [
    ...curve(outer.map(([d, y]): Point => [d + 5, y - 4])),
    ...curve(inner).toReversed(),
  ];
  dense.fill(polyline(chest.at(side, rind), true), faint(finding, 0.62, 0.32));
}

/** Calcified plaques: bright, flat, map-like, along the wall and on the dome. */
function drawPlaques(
  finding: Finding<'Pleural Other'>,
  chest: Frontal,
  { line, dense }: Planes,
  side: Side,
  random: Random,
): void {
  const count = finding.certainty === 'positive' ? 3 + Math.round(2 * finding.severity) : 1;
  const strength = faint(finding, 0.26, 0.12);
  for (let i = 0; i < count; i += 1) {
    const y = 170 + (140 * (i + random.uniform(0.2, 0.8))) / count;
    const at: Point = [chest.x(side, chest.half(y) - random.uniform(6, 16)), y];
    const leaf = Array.from({ length: 4 }, (_, part): string => {
      const center: Point = [at[0] + random.normal(0, 2), at[1] - 10 + 7 * part];
      return lump(center, random.uniform(6, 9), 0.22, random);
    }).join('');
    line.fill(leaf, 0.55 * strength);
    dense.fill(leaf, 0.45);
  }
  const dome = chest.at(side, chest.diaphragm(side).slice(2, 5));
  line.stroke(smooth(dome.map(([x, y]) => [x, y + 1])), { width: 3.5, opacity: 0.9 * strength });
}
