import test from 'ava';
import { modalityValue, toGrey, voiValue } from '../lib/image/grey.ts';
import type { LookupTable, Window } from '../lib/image/grey.ts';

const close = (actual: number, expected: number) => Math.abs(actual - expected) < 1e-12;

test('LINEAR is the function of PS3.3 C.11.2.1.2.1, with its two half steps', (t) => {
  // The standard's own example: c = 2048, w = 4096 maps 0 to the darkest and 4095 to the brightest.
  const full: Window = { kind: 'LINEAR', center: 2048, width: 4096 };
  t.is(voiValue(full, 0), 0);
  t.is(voiValue(full, 4095), 1);
  t.true(close(voiValue(full, 1), 1 / 4095));
  // "if c = 0, w = 100: y = ymin for x <= -50, ymax for x > 49, else (x + 0.5) / 99 + 0.5".
  const window: Window = { kind: 'LINEAR', center: 0, width: 100 };
  t.is(voiValue(window, -50), 0);
  t.true(close(voiValue(window, -49), 1 / 99));
  t.true(close(voiValue(window, 0), 0.5 / 99 + 0.5));
  t.true(close(voiValue(window, 49), 1));
  t.is(voiValue(window, 50), 1);
});

test('LINEAR of width 1 is a threshold, above center - 0.5', (t) => {
  const window: Window = { kind: 'LINEAR', center: 100, width: 1 };
  t.deepEqual(
    [99, 99.5, 99.6, 100].map((value) => voiValue(window, value)),
    [0, 0, 1, 1],
  );
});

test('LINEAR_EXACT is the function of C.11.2.1.3.2, without half steps', (t) => {
  const window: Window = { kind: 'LINEAR_EXACT', center: 0, width: 100 };
  t.deepEqual(
    [-51, -50, -25, 0, 25, 50, 51].map((value) => voiValue(window, value)),
    [0, 0, 0.25, 0.5, 0.75, 1, 1],
  );
});

test('SIGMOID is the function of C.11.2.1.3.1', (t) => {
  const window: Window = { kind: 'SIGMOID', center: 200, width: 100 };
  t.is(voiValue(window, 200), 0.5);
  // x = c + w / 4: 1 / (1 + exp(-1)); x = c - w / 2: 1 / (1 + exp(2)).
  t.true(close(voiValue(window, 225), 0.731_058_578_630_004_9));
  t.true(close(voiValue(window, 150), 0.119_202_922_022_117_57));
});

test('A table gives its first entry below it, its last above it, by its bits', (t) => {
  const table: LookupTable = {
    kind: 'table',
    first: -2,
    entries: Uint16Array.of(0, 51, 102, 255),
    bits: 8,
  };
  t.deepEqual(
    [-9, -2, -1, 0, 1, 9].map((value) => voiValue(table, value)),
    [0, 0, 0.2, 0.4, 1, 1],
  );
  t.is(modalityValue(table, -1), 51);
});

test('A rescale multiplies, then adds', (t) => {
  t.is(modalityValue({ kind: 'rescale', slope: -0.5, intercept: 100 }, 40), 80);
});

test('An image of padding only is black', (t) => {
  const grey = toGrey(Uint16Array.of(9, 9), 16, {
    bitsStored: 12,
    highBit: 11,
    signed: false,
    inverted: true,
    padding: { low: 9, high: 9 },
    modality: { kind: 'rescale', slope: 1, intercept: 0 },
    voi: undefined,
  });
  t.deepEqual(Array.from(grey), [0, 0]);
});
