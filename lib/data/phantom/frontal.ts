import type { Frontal, Side } from './anatomy.ts';
import type { Planes } from './exposure.ts';
import type { Random } from './random.ts';
import { curve, ellipse, type Layer, type Point, polyline, smooth } from './svg.ts';
import { type Branch, broken, drawBand, drawVessels, markBreak } from './tissue.ts';

const sides: readonly Side[] = ['right', 'left'];

/** The healthy chest from the front, as planes of attenuation. */
export function drawFrontal(chest: Frontal, planes: Planes, random: Random): void {
  drawBody(chest, planes, random.fork('body'));
  drawAir(chest, planes);
  drawSpine(chest, planes.bone);
  for (const side of sides) {
    drawShoulder(chest, planes, side);
    for (let number = 1; number <= 10; number += 1) drawRib(chest, planes.bone, side, number);
    drawWall(chest, planes.bone, side);
    drawHilum(chest, planes, side, random.fork(`vessels ${side}`));
  }
  drawAbdomen(chest, planes, random.fork('abdomen'));
}

function drawBody(chest: Frontal, { body, bulk }: Planes, random: Random): void {
  const { habitus, sex } = chest.patient;
  const wall = 20 + 26 * habitus;
  const neck = 44 + 10 * habitus;
  const slope = random.normal(0, 5);
  const trunk = curve([
    [neck, -30],
    [neck + 3, 14],
    [neck + 30, 40 + slope],
    [150, 58 + slope],
    [212, 72 + slope],
    [248, 96],
    [250, 150],
    [chest.half(230) + wall + 16, 220],
    [chest.half(290) + wall + 4, 290],
    [chest.half(360) + wall, 360],
    [chest.half(430) + wall + 6 * habitus, 540],
  ]);
  body.fill(polyline(mirrored(chest, trunk), true), 0.4);
  // The trunk is thickest in the middle and below.
  const core = curve([
    [48, -30],
    [56, 50],
    [120, 130],
    [150, 260],
    [158, 540],
  ]);
  bulk.fill(polyline(mirrored(chest, core), true), 0.14 + 0.1 * habitus);
  for (const side of sides) {
    const arm = chest.at(side, [
      [226, 84 + slope],
      [262, 98],
      [300, 180],
      [330, 330],
      [286, 330],
      [266, 232],
      [240, 150],
    ]);
    body.fill(smooth(arm, true), 0.2);
    const muscle = chest.at(side, [
      [130, 100],
      [226, 112],
      [chest.half(240) + wall, 232],
      [chest.half(250) - 6, 226],
      [150, 170],
    ]);
    body.fill(smooth(muscle, true), 0.08);
  }
  drawBreasts(chest, { body, bulk }, random, sex === 'female' ? random.uniform(0.05, 0.09) : 0.02);
}

/** Points of one half and their mirror image, as one outline. */
function mirrored(chest: Frontal, half: readonly Point[]): Point[] {
  return [...chest.at('right', half), ...chest.at('left', half).toReversed()];
}

function drawBreasts(
  chest: Frontal,
  { body, bulk }: Pick<Planes, 'body' | 'bulk'>,
  random: Random,
  density: number,
): void {
  const { habitus, sex } = chest.patient;
  const radius = (sex === 'female' ? 60 : 50) + 22 * habitus;
  for (const side of sides) {
    const center: Point = [
      chest.x(side, 112 + 10 * habitus + random.normal(0, 3)),
      chest.dome('right') - 34 + 18 * habitus + random.normal(0, 5),
    ];
    body.fill(ellipse(center, radius * 1.16, radius, side === 'left' ? 12 : -12), 0.6 * density);
    bulk.fill(ellipse([center[0], center[1] - 8], radius * 0.9, radius * 0.7), density);
  }
}

function drawAir(chest: Frontal, { air, body, bulk, cavity }: Planes): void {
  for (const side of sides) {
    air.fill(polyline(chest.at(side, chest.lung(side)), true), 1);
    // The lung reaches further down behind the dome than the dome's edge shows.
    const recess = chest
      .diaphragm(side)
      .slice(1)
      .concat([
        [chest.half(chest.angle(side)) - 12, chest.angle(side) + 18],
        [0.55 * chest.half(360), chest.dome(side) + 46],
        [30, chest.dome(side) + 42],
      ]);
    air.fill(smooth(chest.at(side, recess), true), 0.12);
  }
  cavity.fill(polyline(mirrored(chest, curve(chest.wall(520))), true), 1);
  const outline = chest.mediastinum();
  air.fill(smooth(outline, true), 0.9, '#000');
  body.fill(smooth(outline, true), 0.04);
  const { left } = chest.heart();
  bulk.fill(ellipse([256 + 0.3 * left, chest.dome('left') - 45], 0.6 * left, 60, 28), 0.07);
  drawAirways(chest, air);
}

function drawAirways(chest: Frontal, air: Layer): void {
  const shift = 5 * chest.patient.yaw + 2;
  const trachea: Point[] = [
    [256 + 0.4 * shift, -10],
    [256 + 0.6 * shift, 60],
    [254 + shift - 3 * chest.patient.age, 120],
  ];
  const carina: Point = [254 + shift, 172];
  const right: Point[] = [carina, [240 + shift, 188], [222, 214]];
  const left: Point[] = [carina, [272 + shift, 187], [300, 205]];
  air.stroke(smooth([...trachea, carina]), { width: 5, opacity: 0.12 });
  air.stroke([[...trachea, carina], right, left].map((part) => smooth(part)).join(''), {
    width: 13,
    opacity: 0.26,
  });
}

function drawSpine(chest: Frontal, bone: Layer): void {
  const x = chest.midline - 4 * chest.patient.yaw;
  let y = -12;
  for (let i = 0; y < 530; i += 1) {
    const height = 19 + 0.55 * i;
    const half = 17 + 0.55 * i;
    const body: Point[] = [
      [x - half, y + 1],
      [x - half + 2.5, y + height / 2],
      [x - half, y + height],
      [x + half, y + height],
      [x + half - 2.5, y + height / 2],
      [x + half, y + 1],
    ];
    bone.fill(polyline(body, true), 0.06);
    bone.stroke(`M${x - half} ${y + 1}H${x + half}M${x - half} ${y + height}H${x + half}`, {
      width: 1.4,
      opacity: 0.07,
    });
    for (const sign of [-1, 1]) {
      const pedicle = ellipse([x + sign * (half - 6), y + 0.45 * height], 3.4, 4.6);
      bone.stroke(pedicle, { width: 1.5, opacity: 0.11 });
      const process: Point[] = [
        [x + sign * half, y + 5],
        [x + sign * (half + 15), y + 1],
        [x + sign * (half + 15), y + 8],
        [x + sign * half, y + 11],
      ];
      bone.fill(smooth(process, true), 0.05);
    }
    bone.fill(ellipse([x, y + height + 1], 3, 6), 0.05);
    y += height + 4.5;
  }
  // The breastbone lies over the spine and hardly shows.
  const front = 256 + 8 * chest.patient.yaw;
  bone.fill(
    smooth(
      [
        [front - 22, 122],
        [front + 22, 122],
        [front + 15, 165],
        [front - 15, 165],
      ],
      true,
    ),
    0.05,
  );
}

function drawRib(chest: Frontal, bone: Layer, side: Side, number: number): void {
  const { posterior, anterior } = chest.rib(side, number);
  const { fracture } = chest.patient;
  const hurt =
    fracture?.bone === 'ribs' && fracture.side === side && fracture.ribs.includes(number);
  const density = 0.21 - 0.05 * chest.patient.age;
  const broad = number === 1 ? 12 : 10.5 + 0.25 * number;
  const pieces = hurt ? broken(posterior, 0.68, fracture.step) : [posterior];
  for (const piece of pieces) drawBand(bone, piece, (t) => broad * (0.86 + 0.14 * t), density);
  if (hurt) markBreak(bone, pieces);
  if (number > 8) return;
  // Bone gives way to cartilage, which hardly shows.
  const parts = [0, 0.55, 0.75, 0.88, 1].map((t) => Math.round(t * (anterior.length - 1)));
  parts.slice(1).forEach((end, i) => {
    const part = anterior.slice(parts[i], end + 1);
    drawBand(bone, part, () => broad * (1 + 0.08 * i), density * ([0.6, 0.5, 0.34, 0.16][i] ?? 0));
  });
}

/** Where the ribs turn they are met edge-on, and a bright rim runs down the chest wall. */
function drawWall(chest: Frontal, bone: Layer, side: Side): void {
  const rim = chest.wall(450).filter(([, y]) => y > 90);
  const line = curve(rim);
  bone.stroke(
    polyline(
      chest.at(
        side,
        line.map(([d, y]) => [d + 5, y]),
      ),
    ),
    { width: 7, opacity: 0.07 },
  );
  bone.stroke(
    polyline(
      chest.at(
        side,
        line.map(([d, y]) => [d + 2, y]),
      ),
    ),
    { width: 1.6, opacity: 0.1 },
  );
}

function drawShoulder(chest: Frontal, { bone }: Planes, side: Side): void {
  const clavicle = chest.clavicle(side);
  const { fracture } = chest.patient;
  const hurt = fracture?.bone === 'clavicle' && fracture.side === side;
  const step = (side === 'right' ? -1.6 : 1.6) * (fracture?.step ?? 0);
  const pieces = hurt ? broken(clavicle, 0.52, step) : [clavicle];
  for (const piece of pieces) drawBand(bone, piece, (t) => 13 - 9 * t * (1 - t) + 1.5 * t, 0.24);
  if (hurt) markBreak(bone, pieces);
  const blade: Point[] = [
    [172, 96],
    [216, 104],
    [226, 122],
    [214, 140],
    [204, 190],
    [194, 236],
    [188, 238],
    [182, 190],
    [172, 130],
  ];
  bone.fill(smooth(chest.at(side, blade), true), 0.05);
  bone.stroke(smooth(chest.at(side, blade.slice(2, 9))), { width: 2.2, opacity: 0.1 });
  const spine: Point[] = [
    [168, 112],
    [196, 98],
    [226, 86],
    [246, 84],
  ];
  drawBand(bone, chest.at(side, curve(spine)), () => 9, 0.12);
  bone.fill(ellipse([chest.x(side, 210), 104], 8, 6), 0.1);
  const head: Point = [chest.x(side, 252), 116];
  bone.fill(ellipse(head, 23, 25), 0.12);
  bone.stroke(ellipse(head, 23, 25), { width: 2, opacity: 0.1 });
  const shaft: Point[] = [
    [256, 130],
    [274, 190],
    [292, 330],
  ];
  drawBand(bone, chest.at(side, curve(shaft)), () => 24, 0.13);
}

/** Arteries and veins: a tree from each hilum, thicker below than above while one stands. */
function drawHilum(chest: Frontal, { vessel, body }: Planes, side: Side, random: Random): void {
  const hilum = chest.hilum(side);
  const { congestion } = chest.patient;
  const out = side === 'left' ? 1 : -1;
  const trunk: Point[] =
    side === 'right'
      ? [[hilum[0] + 14, 204], hilum, [hilum[0] - 9, 240], [hilum[0] - 13, 276]]
      : [
          [hilum[0] - 16, 206],
          [hilum[0] - 2, 192],
          [hilum[0] + 9, 206],
          [hilum[0] + 14, 262],
        ];
  vessel.stroke(smooth(trunk.slice(0, 3)), { width: 14, opacity: 0.16 });
  vessel.stroke(smooth(trunk), { width: 10, opacity: 0.16 });
  body.fill(
    ellipse(hilum, 17 + 7 * congestion, 24 + 6 * congestion, out * -18),
    0.06 + 0.05 * congestion,
  );
  const count = 11;
  const trunks = Array.from({ length: count }, (_, i): Branch => {
    const turn = -1.4 + (2.85 * (i + random.uniform(-0.35, 0.35))) / (count - 1);
    const below = turn > 0 ? 1.2 + 0.2 * congestion : 0.85 + 0.95 * congestion;
    const from: Point = [hilum[0] + out * random.uniform(0, 8), hilum[1] + 24 * turn];
    const width = below * random.uniform(2.7, 4);
    return { from, turn, out, width, length: 40 };
  });
  drawVessels(vessel, random, trunks);
}

function drawAbdomen(chest: Frontal, { air, bulk }: Planes, random: Random): void {
  const y = chest.dome('left');
  // The liver is even; gas lies under the left dome.
  bulk.fill(ellipse([256 - 90, chest.dome('right') + 96], 112, 90), 0.09);
  if (random.chance(0.75)) {
    const [x, top, wide] = [256 + random.uniform(64, 104), y + 22, random.uniform(18, 34)];
    const level = top + random.uniform(14, 26);
    air.fill(
      `M${x - wide} ${level}C${x - wide} ${top} ${x - 0.4 * wide} ${top - 6} ${x} ${top - 5}S${x + wide} ${top} ${x + wide} ${level}Z`,
      0.42,
    );
  }
  for (let i = random.integer(0, 4); i > 0; i -= 1) {
    const at: Point = [256 + random.uniform(-30, 150), y + random.uniform(76, 150)];
    air.fill(
      ellipse(at, random.uniform(8, 17), random.uniform(6, 11), random.uniform(-40, 40)),
      0.25,
    );
  }
}
