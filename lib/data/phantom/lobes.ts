import type { Frontal } from './anatomy.ts';
import { type Lobe, lobeSide } from './findings.ts';
import type { Lateral } from './lateral.ts';
import type { Point } from './svg.ts';

/** The part of the front view that a lobe fills: distance from the midline, height. */
export function frontalLobe(chest: Frontal, lobe: Lobe): Point[] {
  const side = lobeSide(lobe);
  const dome = chest.dome(side);
  const wall = (y: number, share = 1): Point => [share * (chest.half(y) + 4), y];
  const apex: Point[] = [[8, 60], [70, 44], wall(130), wall(180)];
  const base: Point[] = [
    wall(300),
    wall(360),
    [chest.half(420) + 4, chest.angle(side) + 6],
    [0.5 * chest.half(360), dome + 14],
    [10, dome + 34],
  ];
  const shapes: Readonly<Record<Lobe, Point[]>> = {
    'right upper lobe': [...apex, wall(230), [110, 226], [46, 229], [8, 215]],
    'right middle lobe': [
      [10, 240],
      [60, 230],
      [118, 227],
      wall(234, 0.86),
      wall(285, 0.78),
      [0.55 * chest.half(330), dome + 4],
      [10, dome + 20],
    ],
    'right lower lobe': [[38, 236], [78, 246], wall(274, 0.7), ...base],
    'left upper lobe': [...apex, wall(228), [120, 246], [50, 238], [8, 215]],
    lingula: [
      [20, 226],
      [66, 224],
      [120, 238],
      wall(280, 0.84),
      wall(318, 0.8),
      [0.62 * chest.half(340), dome - 6],
      [20, dome - 4],
    ],
    'left lower lobe': [[30, 236], [80, 252], wall(284, 0.72), ...base],
  };
  return shapes[lobe];
}

/** The part of the side view that a lobe fills, in image coordinates. */
export function lateralLobe(chest: Lateral, lobe: Lobe): Point[] {
  const y = chest.patient.dome;
  const back = (height: number): Point => [chest.back(height) + 4, height];
  const apex: Point[] = [
    [364, 150],
    [330, 84],
    [278, 60],
    [150, 160],
  ];
  const lower: Point[] = [
    [366, 150],
    back(230),
    back(330),
    [chest.back(y + 60), y + 66],
    [330, y + 24],
    [216, y - 8],
    [284, 230],
  ];
  const shapes: Readonly<Record<Lobe, Point[]>> = {
    'right upper lobe': [...apex, [110, 226], [200, 232], [284, 228]],
    'right middle lobe': [
      [100, 236],
      [200, 236],
      [282, 232],
      [212, y - 8],
      [104, y + 14],
    ],
    'right lower lobe': lower,
    'left upper lobe': [...apex, [108, 256], [254, 262]],
    lingula: [
      [100, 262],
      [252, 262],
      [206, y - 4],
      [104, y + 16],
    ],
    'left lower lobe': lower,
  };
  return shapes[lobe];
}
