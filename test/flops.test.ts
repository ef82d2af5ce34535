import test from 'ava';
import { o } from '../lib/graph/build.ts';
import { flopsOf } from '../lib/graph/flops.ts';
import { GraphError, input, parameter } from '../lib/graph/value.ts';
import { graphOf } from './support/engine.ts';

const x = input('x', 'float32', ['batch', 8, 16]);
const w = parameter('w', [16, 4]);

test('a matrix product counts two operations for each output and inner element', (t) => {
  const graph = graphOf([x], { y: o.MatMul(x, w) });
  t.is(flopsOf(graph, { batch: 3 }), 2 * 3 * 8 * 4 * 16);
  t.throws(() => flopsOf(graph), { instanceOf: GraphError, message: /batch/ });
});

test('a convolution and its gradients count the same', (t) => {
  const image = input('image', 'float32', [2, 3, 9, 9]);
  const kernel = parameter('kernel', [5, 3, 3, 3]);
  const y = o.Conv(image, kernel, undefined, { strides: [2, 2] });
  const once = 2 * 2 * 5 * 4 * 4 * 27;
  t.is(flopsOf(graphOf([image], { y })), once);
  const back = o.ConvTranspose(y, kernel, {
    strides: [2, 2],
    pads: [0, 0, 0, 0],
    output_padding: [0, 0],
  });
  t.is(flopsOf(graphOf([image], { back })), 2 * once);
});

test('a loop counts its body as often as it runs', (t) => {
  const square = parameter('square', [16, 16]);
  const start = input('start', 'float32', [4, 16]);
  const { carried } = o.Loop(5, [start], (_, [value]) => ({
    carried: [o.MatMul(value ?? start, square)],
  }));
  const [end = start] = carried;
  t.is(flopsOf(graphOf([start], { end })), 5 * 2 * 4 * 16 * 16);
});
