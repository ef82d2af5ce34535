import type { Device, PerAbnormality } from './findings.ts';
import type { Planes } from './exposure.ts';
import type { Lateral } from './lateral.ts';
import { lateralLobe } from './lobes.ts';
import type { Random } from './random.ts';
import { curve, ellipse, type Point, polyline, smooth } from './svg.ts';
import { drawTube, drawWire, faint, lump, middle } from './tissue.ts';

const anatomy = (): void => {};

/** How each finding looks from the side. */
export const lateralFindings: PerAbnormality<readonly [Lateral, Planes, Random], void> = {
  'Enlarged Cardiomediastinum': anatomy,
  Cardiomegaly: anatomy,
  Fracture: anatomy,
  'Lung Lesion': (finding, chest, { dense }, random) => {
    for (const spot of finding.spots) {
      const radius =
        finding.form === 'mass' ? 18 + 30 * (finding.severity - 0.55) : random.uniform(8.5, 12);
      dense.fill(
        lump(chest.spot(spot), faint(finding, radius, 7.5), 0.1, random),
        faint(finding, 0.5, 0.22),
      );
    }
  },
  'Lung Opacity': (finding, chest, { haze }) => {
    const size = 30 + 18 * finding.severity;
    haze.fill(ellipse(chest.spot(finding.spot), size, 0.85 * size), faint(finding, 0.55, 0.24));
  },
  Edema: (finding, chest, { haze, line }, random) => {
    const strength = faint(finding, 1, 0.5);
    const wing = finding.form === 'alveolar' ? 0.5 : 0.28;
    haze.fill(ellipse([278, 232], 80, 84), wing * strength);
    haze.fill(ellipse([274, 220], 50, 54), 0.6 * wing * strength);
    for (const fissure of [
      [
        [366, 150],
        [316, 204],
        [280, 234],
        [250, 280],
        [206, 344],
      ],
      [
        [280, 234],
        [230, 226],
        [180, 228],
        [118, 240],
      ],
    ] as const) {
      line.stroke(smooth(fissure), { width: 1.8, opacity: 0.12 * strength });
    }
    for (let i = 0; i < 60; i += 1) {
      const at: Point = [278 + random.normal(0, 52), 236 + random.normal(0, 50)];
      const turn = random.uniform(0, Math.PI);
      const to: Point = [at[0] + 11 * Math.cos(turn), at[1] + 11 * Math.sin(turn)];
      line.stroke(polyline([at, to]), { width: 1.6, opacity: 0.07 * strength });
    }
    for (let i = 0; i < 8; i += 1) {
      const y = chest.dome('left') - 8 - 8 * i;
      const x = chest.front(y) + 6;
      line.stroke(`M${x} ${y}h18`, { width: 1.7, opacity: 0.16 * strength });
    }
  },
  Consolidation: (finding, chest, { dense, haze }, random) => {
    const outline = lateralLobe(chest, finding.lobe);
    const path = polyline(curve([...outline, outline[0] as Point]), true);
    if (finding.certainty === 'uncertain') return haze.fill(path, 0.28);
    dense.fill(path, 0.3 + 0.14 * finding.severity);
    const [x, y] = middle(outline);
    for (const far of outline.filter((_, i) => i % 2 === 1)) {
      const to: Point = [0.5 * (x + far[0]), 0.5 * (y + far[1])];
      const knee: Point = [0.5 * (282 + to[0]) + random.normal(0, 5), 0.5 * (206 + to[1])];
      dense.stroke(smooth([[282, 206], knee, to]), { width: 4, opacity: 0.7, color: '#000' });
    }
  },
  Pneumonia: (finding, chest, { dense, haze }, random) => {
    for (const lobe of finding.lobes) {
      const [x, y] = middle(lateralLobe(chest, lobe));
      haze.fill(ellipse([x, y], 46, 40), faint(finding, 0.3, 0.16));
      for (let i = 0; i < 14; i += 1) {
        const [turn, far] = [random.uniform(0, 2 * Math.PI), 44 * Math.sqrt(random.uniform())];
        const at: Point = [x + far * Math.cos(turn), y + far * Math.sin(turn)];
        dense.fill(lump(at, random.uniform(7, 15), 0.3, random), faint(finding, 0.15, 0.07));
      }
    }
  },
  Atelectasis: (finding, chest, { dense, haze }, random) => {
    const y = chest.dome(finding.sides[0] ?? 'right');
    if (finding.form === 'collapse') {
      const sail: Point[] = [
        [300, 230],
        [340, 240],
        [386, y + 20],
        [376, y + 66],
        [330, y + 30],
      ];
      return dense.fill(smooth(sail, true), 0.45);
    }
    const count = finding.certainty === 'positive' ? 3 + Math.round(2 * finding.severity) : 1;
    for (let i = 0; i < count; i += 1) {
      const h = y - 8 - 14 * i;
      const from = random.uniform(270, 310);
      const plate: Point[] = [
        [from, h],
        [from + 34, h + 8],
        [from + 72, h + random.uniform(8, 24)],
      ];
      dense.stroke(smooth(plate), {
        width: random.uniform(4, 6),
        opacity: faint(finding, 0.5, 0.24),
      });
    }
    haze.fill(ellipse([310, y + 6], 60, 20), faint(finding, 0.2, 0.1));
  },
  Pneumothorax: (finding, chest, planes) => {
    const gap = faint(finding, 14 + 26 * finding.severity, 9);
    const edge = curve([
      [300, 66 + 1.3 * gap],
      [246, 90 + 1.2 * gap],
      ...[140, 200, 260, 320].map((y): Point => [chest.front(y) + 6 + gap, y]),
      [chest.front(340) + 12 + 0.5 * gap, chest.dome(finding.side) + 4],
    ]);
    const outer = [320, 260, 200, 150, 110].map((y): Point => [chest.front(y), y]);
    planes.void.fill(polyline([...edge, ...outer, [280, 60]], true), 1);
    planes.line.stroke(polyline(edge), { width: 2, opacity: faint(finding, 0.2, 0.1) });
  },
  'Pleural Effusion': (finding, chest, { fluid: pool, haze }) => {
    const height = faint(finding, 44 + 120 * finding.severity, 24);
    const bottom = chest.patient.dome + 66;
    const top = bottom - height;
    const reach = 60 + 150 * finding.severity;
    const x = chest.back(top) + 2;
    const dip = Math.min(40, 0.6 * height);
    const level: Point[] = [
      [x, top],
      [x - 0.1 * reach, top + 0.5 * dip],
      [x - 0.4 * reach, top + 0.9 * dip],
      [x - reach, top + dip],
    ];
    const fluid: Point[] = [
      ...curve(level),
      [x - reach - 20, bottom + 30],
      [chest.back(bottom) + 10, bottom + 30],
    ];
    pool.fill(polyline(fluid, true), 0.7);
    haze.fill(
      polyline(
        fluid.map(([px, py]): Point => [px, py - 10]),
        true,
      ),
      0.25,
    );
  },
  'Pleural Other': (finding, chest, { dense, line }) => {
    const thick = faint(finding, 12 + 8 * finding.severity, 7);
    const behind = curve([130, 180, 240, 300, 360].map((y): Point => [chest.back(y) + 4, y]));
    if (finding.form === 'thickening') {
      const inner = behind.map(([x, y]): Point => [x - thick, y]).toReversed();
      return dense.fill(polyline([...behind, ...inner], true), faint(finding, 0.6, 0.3));
    }
    const strength = faint(finding, 0.26, 0.12);
    for (const [x, y] of behind.filter((_, i) => i % 7 === 3)) {
      line.fill(ellipse([x - 10, y], 5, 16), 0.6 * strength);
    }
    line.stroke(smooth(chest.diaphragm('right').slice(1, 4)), {
      width: 3,
      opacity: 0.8 * strength,
    });
  },
  'Support Devices': (finding, chest, planes) => {
    for (const device of finding.devices) drawDevice[device](chest, planes);
  },
};

const drawDevice: Readonly<Record<Device, (chest: Lateral, planes: Planes) => void>> = {
  'endotracheal tube': (_, planes) =>
    drawTube(
      planes,
      [
        [262, -20],
        [265, 60],
        [274, 128],
      ],
      9,
    ),
  'enteric tube': (chest, planes) => {
    const y = chest.dome('left');
    drawTube(
      planes,
      [
        [272, -20],
        [284, 90],
        [306, 200],
        [306, 300],
        [270, y + 20],
        [200, y + 44],
      ],
      4.5,
    );
  },
  'central line': (_, planes) =>
    drawWire(planes, [
      [282, -20],
      [268, 60],
      [242, 120],
      [244, 210],
    ]),
  PICC: (_, planes) =>
    drawWire(planes, [
      [318, 20],
      [286, 70],
      [240, 104],
      [240, 150],
      [244, 212],
    ]),
  port: (chest, planes) => {
    const x = chest.front(150) - 14;
    planes.metal.fill(ellipse([x, 150], 6, 12, 20), 0.24);
    drawWire(planes, [
      [x + 4, 140],
      [196, 96],
      [236, 110],
      [244, 212],
    ]);
  },
  pacemaker: (chest, planes) => {
    const x = chest.front(150) - 16;
    planes.metal.fill(ellipse([x, 150], 9, 25, 22), 0.3);
    const way: Point[] = [
      [x + 6, 130],
      [190, 92],
      [234, 112],
      [244, 200],
    ];
    drawWire(planes, [...way, [240, 270], [200, 250]]);
    drawWire(planes, [...way, [234, 300], [164, chest.patient.dome - 12]]);
  },
  'chest tube': (chest, planes) =>
    drawTube(
      planes,
      [
        [330, 400],
        [330, 330],
        [310, 220],
        [286, chest.patient.dome - 240],
      ],
      8,
    ),
  'sternal wires': (chest, { metal }) => {
    for (let y = 130; y < 300; y += 30) {
      metal.stroke(ellipse([chest.front(y) - 5, y], 6.5, 2.6, -50), { width: 2, opacity: 0.34 });
    }
  },
};
