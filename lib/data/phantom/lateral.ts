import type { Patient, Side, Spot } from './anatomy.ts';
import type { Planes } from './exposure.ts';
import type { Random } from './random.ts';
import { curve, ellipse, type Layer, type Point, polyline, smooth } from './svg.ts';
import { type Branch, broken, drawBand, drawVessels, markBreak } from './tissue.ts';

/** The chest seen from the side, the patient's left side to the detector, facing left. */
export class Lateral {
  readonly patient: Patient;

  constructor(patient: Patient) {
    this.patient = patient;
  }

  /** Centre of the vertebral body at height `y`: the thoracic curve, deeper with age. */
  spine(y: number): number {
    const depth = 62 + 14 * this.patient.age;
    return 322 + depth * Math.sin(Math.PI * Math.min(1, Math.max(0, (y + 60) / 700)) ** 0.85);
  }

  /** Back of the sternum. */
  front(y: number): number {
    const t = Math.min(1, Math.max(0, (y - 110) / 230));
    return 178 - 78 * t ** 0.6;
  }

  /** Inside of the ribs behind the spine. */
  back(y: number): number {
    return this.spine(y) + 38;
  }

  dome(side: Side): number {
    const { dome, domeStep, lift } = this.patient;
    return dome - 16 + (side === 'left' ? domeStep + 3 : 0) - lift[side];
  }

  /** From the front downwards over the dome to the deep angle behind. */
  diaphragm(side: Side): Point[] {
    const y = this.dome(side);
    const angle = this.patient.dome + 66;
    return [
      [this.front(y) + 2, y + 26],
      [168, y + 7],
      [222, y],
      [290, y + 16],
      [342, y + 44],
      [this.back(angle) - 3, angle],
    ];
  }

  lung(side: Side): Point[] {
    const front = [120, 160, 220, 280, this.dome(side) + 20].map((y): Point => [
      this.front(y) + 4,
      y,
    ]);
    const back = [this.patient.dome + 40, 330, 260, 200, 150, 112].map((y): Point => [
      this.back(y),
      y,
    ]);
    return [
      ...curve([[280, 66], [232, 90], ...front]),
      ...curve(this.diaphragm(side)),
      ...curve([...back, [this.spine(92) + 6, 88], [346, 70], [322, 59], [296, 56]]),
    ];
  }

  /** Outline of the heart; as it grows it fills the space behind it and behind the sternum. */
  heart(): Point[] {
    const grown = (this.patient.cardiothoracicRatio - 0.42) * 230;
    const base = this.patient.dome + 8;
    return [
      [108, base + 4],
      [116, 306],
      [142 - 0.2 * grown, 254 - 0.4 * grown],
      [198, 220 - 0.3 * grown],
      [254 + 0.3 * grown, 216],
      [284 + 0.8 * grown, 250],
      [290 + grown, 296],
      [276 + grown, base - 16],
      [236, base + 6],
      [160, base + 14],
    ];
  }

  spot({ across, down, deep }: Spot): Point {
    const y = 90 + down * (this.patient.dome - 100);
    const inset = 24 + 20 * across;
    return [this.front(y) + inset + deep * (this.back(y) - this.front(y) - 2 * inset), y];
  }

  /** The rib behind and round the side; both sides lie nearly over each other. */
  rib(side: Side, number: number): Point[] {
    const y = 44 + number * 29 * this.patient.ribSpacing + (side === 'left' ? 6 : 0);
    const slope = this.patient.ribSlope * (36 + 6 * number);
    return curve([
      [this.spine(y) + 12, y],
      [this.back(y) + 2, y + 14],
      [this.back(y) - 22, y + 0.42 * slope],
      [300, y + 0.75 * slope],
      [230, y + 1.1 * slope],
      [176, y + 1.3 * slope],
    ]);
  }
}

/** The healthy chest from the side, as planes of attenuation. */
export function drawLateral(chest: Lateral, planes: Planes, random: Random): void {
  drawBody(chest, planes);
  drawAir(chest, planes, random.fork('abdomen'));
  drawBones(chest, planes.bone);
  const { congestion } = chest.patient;
  const hilum: Point = [282, 208];
  planes.body.fill(
    ellipse(hilum, 24 + 8 * congestion, 21 + 6 * congestion),
    0.1 + 0.05 * congestion,
  );
  const vessels = random.fork('vessels');
  const trunks = [-1, 1].flatMap((out) =>
    Array.from({ length: 9 }, (_, i): Branch => {
      const turn = -1.5 + 0.38 * i + vessels.uniform(-0.15, 0.15);
      const width = (turn > 0 ? 3.6 : 2.6 + 2 * congestion) * vessels.uniform(0.8, 1.2);
      const from: Point = [hilum[0] + out * vessels.uniform(4, 14), hilum[1] + 16 * Math.sin(turn)];
      return { from, turn, out, width, length: 34 };
    }),
  );
  drawVessels(planes.vessel, vessels, trunks);
}

function drawBody(chest: Lateral, { body, bulk }: Planes): void {
  const { habitus, sex } = chest.patient;
  const wall = 14 + 20 * habitus;
  const breast = (sex === 'female' ? 26 : 6) * (0.7 + 0.6 * habitus);
  const outline: Point[] = [
    [226, -30],
    [216, 40],
    [176, 88],
    [chest.front(150) - wall, 150],
    [chest.front(230) - wall - 0.8 * breast, 230],
    [chest.front(290) - wall - breast, 290],
    [chest.front(340) - wall - 0.3 * breast, 350],
    [100 - wall - 20 * habitus, 440],
    [96 - wall - 26 * habitus, 540],
    [chest.back(500) + wall + 12, 540],
    [chest.back(400) + wall + 8, 400],
    [chest.back(280) + wall + 10, 280],
    [chest.back(180) + wall + 16, 180],
    [chest.back(100) + wall + 22, 100],
    [372, 30],
    [344, -30],
  ];
  body.fill(smooth(outline, true), 0.5);
  bulk.fill(
    smooth(
      [
        [220, 380],
        [130, 400],
        [120, 560],
        [400, 560],
        [390, 420],
      ],
      true,
    ),
    0.14,
  );
  bulk.fill(
    smooth(
      [
        [230, 20],
        [200, 90],
        [250, 150],
        [350, 150],
        [390, 90],
        [340, 10],
      ],
      true,
    ),
    0.1,
  );
  // The arms are held up and forwards, over the top of the chest.
  bulk.fill(ellipse([312, 82], 62, 44, 20), 0.16);
  body.fill(ellipse([326, 78], 24, 26), 0.05);
  body.fill(
    smooth(
      [
        [330, 60],
        [282, 120],
        [232, 90],
        [150, -40],
        [270, -40],
      ],
      true,
    ),
    0.1,
  );
}

function drawAir(chest: Lateral, { air, body, bulk, cavity }: Planes, random: Random): void {
  for (const side of ['right', 'left'] as const) {
    air.fill(polyline(chest.lung(side), true), 0.68);
  }
  // The cage goes on below the domes: their edge is sharp, the wall's is not.
  const behind = [70, 130, 200, 280, 360, 480].map((y): Point => [chest.back(y), y]);
  const before = [480, 360, 280, 200, 140, 100].map((y): Point => [chest.front(y), y]);
  cavity.fill(polyline(curve([[296, 52], ...behind, ...before, [250, 64], [296, 52]]), true), 1);
  const heart = smooth(chest.heart(), true);
  air.fill(heart, 0.5, '#000');
  body.fill(heart, 0.05);
  bulk.fill(ellipse([200, 300], 66, 50, -20), 0.06);
  const wide = chest.patient.mediastinum;
  const aorta: Point[] = [
    [262, 166],
    [288, 142 - 0.4 * wide],
    [322, 158],
    [346, 214],
    [358, 330],
    [350, 470],
  ];
  air.stroke(smooth(aorta), { width: 24 + 0.9 * wide, opacity: 0.14 + 0.01 * wide, color: '#000' });
  const trachea: Point[] = [
    [262, -10],
    [264, 60],
    [276, 130],
    [284, 182],
  ];
  air.stroke(smooth(trachea), { width: 16, opacity: 0.55 });
  body.stroke(smooth(trachea.slice(1)), { width: 20, opacity: 0.05 });
  body.stroke(smooth(trachea.slice(1)), { width: 14, opacity: 0.2, color: '#000' });
  if (random.chance(0.7)) {
    const y = chest.dome('left') + 24;
    air.fill(`M160 ${y + 18}C160 ${y} 176 ${y - 6} 192 ${y - 6}S224 ${y + 2} 224 ${y + 18}Z`, 0.4);
  }
}

function drawBones(chest: Lateral, bone: Layer): void {
  const { age, fracture } = chest.patient;
  const density = 0.15 - 0.04 * age;
  for (let y = -10; y < 520; y += 26.5) {
    const height = 20;
    const lean = (chest.spine(y + height) - chest.spine(y)) / 2;
    const x = chest.spine(y + height / 2);
    const half = 13 + y / 60;
    const corners: Point[] = [
      [x - half - lean, y],
      [x + half - lean, y + 1],
      [x + half + lean, y + height],
      [x - half + lean, y + height],
    ];
    bone.fill(polyline(corners, true), 0.6 * density);
    bone.stroke(polyline(corners, true), { width: 1.8, opacity: 0.55 * density });
    const arch: Point[] = [
      [x + half, y + 5],
      [x + half + 22, y + 14],
      [x + half + 40, y + 30],
    ];
    bone.stroke(smooth(arch), { width: 8, opacity: 0.4 * density });
  }
  const sternum = curve([118, 150, 200, 260, 320].map((y): Point => [chest.front(y) - 5, y]));
  drawBand(bone, sternum, () => 10, 1.3 * density);
  for (const side of ['right', 'left'] as const) {
    for (let number = 1; number <= 9; number += 1) {
      const line = chest.rib(side, number);
      const hurt =
        fracture?.bone === 'ribs' && fracture.side === side && fracture.ribs.includes(number + 1);
      const pieces = hurt ? broken(line, 0.5, fracture.step) : [line];
      for (const piece of pieces) drawBand(bone, piece, (t) => 9 - 2 * t, 0.42 * density);
      if (hurt) markBreak(bone, pieces);
    }
    const clavicle = curve([
      [200, 116],
      [226, 98],
      [262, 84],
      [300, 80],
    ]);
    const hurt = fracture?.bone === 'clavicle' && fracture.side === side;
    const pieces = hurt ? broken(clavicle, 0.5, -1.6 * fracture.step) : [clavicle];
    for (const piece of pieces) drawBand(bone, piece, () => 10, 0.7 * density);
    if (hurt) markBreak(bone, pieces);
  }
  for (const shift of [0, 16]) {
    bone.stroke(
      smooth([
        [330 + shift, 70],
        [366 + shift, 130],
        [386 + shift, 200],
      ]),
      { width: 4, opacity: 0.5 * density },
    );
  }
}
