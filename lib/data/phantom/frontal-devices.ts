import type { Frontal, Side } from './anatomy.ts';
import type { Device } from './findings.ts';
import type { Planes } from './exposure.ts';
import { ellipse, type Point, smooth } from './svg.ts';
import { drawTube, drawWire } from './tissue.ts';

/** How each device looks from the front; `side` is where it enters, where it could be either. */
export const drawDevice: Readonly<
  Record<Device, (chest: Frontal, planes: Planes, side: Side) => void>
> = {
  'endotracheal tube': (chest, planes) => {
    const x = chest.midline + 2 + 4 * chest.patient.yaw;
    drawTube(
      planes,
      [
        [x + 3, -20],
        [x + 1, 60],
        [x, 144],
      ],
      9,
    );
  },
  'enteric tube': (chest, planes) => {
    const x = chest.midline;
    const dome = chest.dome('left');
    const course: Point[] = [
      [x - 6, -20],
      [x - 5, 90],
      [x + 4, 210],
      [x + 8, 310],
      [x + 22, dome + 14],
      [x + 62, dome + 44],
      [x + 72, dome + 74],
    ];
    drawTube(planes, course, 4.5);
    planes.metal.stroke(smooth(course.slice(-2)), { width: 4, opacity: 0.1 });
  },
  'central line': (chest, planes) => {
    const course = chest.at('right', [
      [62, -20],
      [52, 40],
      [38, 96],
      [28, 150],
      [27, 212],
    ]);
    drawWire(planes, course);
    planes.metal.stroke(smooth(course.slice(0, 3)), { width: 5, opacity: 0.04 });
  },
  PICC: (chest, planes, side) => {
    const [x, y] = [chest.midline - 27, 214];
    const arm = chest.at(side, [
      [262, 250],
      [246, 180],
      [214, 132],
      [160, 108],
      [96, 106],
      [52, 116],
    ]);
    const bend: Point[] =
      side === 'right'
        ? [[x - 4, 130]]
        : [
            [chest.midline + 10, 126],
            [x - 1, 140],
          ];
    drawWire(planes, [...arm, ...bend, [x, 176], [x, y]]);
  },
  port: (chest, planes) => {
    const at: Point = [chest.x('right', 124), 150];
    planes.metal.stroke(ellipse(at, 12, 12), { width: 4, opacity: 0.28 });
    planes.metal.fill(ellipse(at, 12, 12), 0.1);
    planes.metal.fill(ellipse(at, 5.5, 5.5), 0.12);
    drawWire(planes, [
      [at[0] + 8, at[1] - 9],
      ...chest.at('right', [
        [96, 104],
        [64, 92],
        [40, 110],
        [28, 150],
        [27, 216],
      ]),
    ]);
  },
  pacemaker: (chest, planes) => {
    const { metal } = planes;
    const at: Point = [chest.x('left', 136), 142];
    const { left, right } = chest.heart();
    const can: Point[] = [
      [-22, -16],
      [0, -23],
      [22, -16],
      [24, 8],
      [10, 24],
      [-12, 24],
      [-24, 8],
    ];
    const outline = smooth(
      can.map(([x, y]): Point => [at[0] + x, at[1] + y]),
      true,
    );
    metal.fill(outline, 0.2);
    metal.stroke(outline, { width: 2, opacity: 0.15 });
    const way: Point[] = [
      [at[0] - 14, at[1] - 20],
      [chest.x('left', 92), 104],
      [chest.x('left', 50), 102],
      [chest.midline - 12, 124],
      [chest.midline - 27, 168],
    ];
    const base = chest.dome('left');
    drawWire(planes, [
      ...way,
      [chest.midline - 30, 240],
      [chest.midline - 0.5 * right, 300],
      [chest.midline - 0.7 * right, 262],
    ]);
    drawWire(planes, [
      ...way,
      [chest.midline - 30, 250],
      [chest.midline - 8, base - 22],
      [chest.midline + 0.4 * left, base - 4],
      [chest.midline + 0.74 * left, base - 10],
    ]);
  },
  'chest tube': (chest, planes, side) => {
    const enter = chest.half(320) + 60;
    drawTube(
      planes,
      chest.at(side, [
        [enter, 330],
        [chest.half(300) - 2, 286],
        [0.72 * chest.half(230), 216],
        [92, 130],
        [70, 104],
      ]),
      8,
    );
  },
  'sternal wires': (chest, { metal }) => {
    const x = chest.midline + 7 * chest.patient.yaw;
    for (let i = 0; i < 6; i += 1) {
      const y = 134 + 30 * i;
      const lean = i % 2 === 0 ? 12 : -10;
      metal.stroke(ellipse([x - 1 + (i % 3), y], 9, 3.6, lean), { width: 2, opacity: 0.34 });
      metal.stroke(`M${x - 3} ${y - 3}l5 7`, { width: 2.6, opacity: 0.34 });
    }
  },
};
