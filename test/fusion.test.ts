import test, { type ExecutionContext } from 'ava';
import type { Tensor } from '../lib/graph/types.ts';
import { input } from '../lib/graph/value.ts';
import { type MaskMode, fusionEncoder } from '../lib/models/fusion.ts';
import { ParameterSet, normal } from '../lib/models/parameters.ts';
import { type TestSession, compile, graphOf, numbers, tensor, uniform } from './support/engine.ts';
import { initialWeights, weightsIn } from './support/models.ts';

const [image, text, channels, hidden] = [4, 5, 6, 16];
const config = {
  hidden,
  layers: 1,
  heads: 2,
  intermediate: 32,
  vocabulary: 40,
  positions: 8,
  labelLayers: 1,
  cls: 2,
  sep: 3,
};

/** One layer, so that what a token does not see itself does not reach it through others. */
async function encoder(
  t: ExecutionContext,
  maskMode: MaskMode,
  labelAttention = false,
): Promise<TestSession> {
  const root = new ParameterSet();
  const tokens = input('tokens', 'float32', [1, image, channels]);
  const textIds = input('textIds', 'int64', [1, 'text']);
  const textMask = input('textMask', 'int64', [1, 'text']);
  const options = { labelAttention, maskMode };
  const result = fusionEncoder(root, { tokens, textIds, textMask }, config, options);
  // Weights large enough that a difference anywhere shows everywhere it is seen.
  const specs = root.specs.map(({ name, shape, isBuffer, value, initializer }) => {
    const wide = initializer.kind === 'normal' ? normal(0.5) : initializer;
    return { name, shape, isBuffer, value, initializer: wide };
  });
  const session = await compile(graphOf([tokens, textIds, textMask], { hidden: result.hidden }), {
    weights: weightsIn(initialWeights(specs)),
  });
  t.teardown(() => session.release());
  return session;
}

const random = uniform(6);
const seen = tensor(Array.from({ length: image * channels }, random), [1, image, channels]);
const words = [7, 8, 9, 10, 3];

interface Given {
  readonly tokens?: Tensor;
  readonly ids?: readonly number[];
  readonly mask?: readonly number[];
}

/** Hidden states, a row a token: [CLS], image, [SEP], text. */
async function states(session: TestSession, given: Given = {}): Promise<string[]> {
  const { tokens = seen, ids = words, mask = ids.map(() => 1) } = given;
  const results = await session.run({
    tokens,
    textIds: tensor(ids, [1, ids.length], 'int64'),
    textMask: tensor(mask, [1, ids.length], 'int64'),
  });
  const all = numbers(results['hidden']);
  return Array.from({ length: all.length / hidden }, (_, i) =>
    all
      .slice(i * hidden, (i + 1) * hidden)
      .map((x) => x.toFixed(5))
      .join(),
  );
}

const visual = image + 2;
/** Which rows a change moves. */
const moved = (before: readonly string[], after: readonly string[]): number[] =>
  before.flatMap((row, i) => (row === after[i] ? [] : [i]));
const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i);

const otherWord = words.with(2, 20);
const otherImage = tensor(
  numbers(seen).map((x, i) => (i < channels ? -x : x)),
  seen.shape,
);

/** Where a change of text token 2, and of image token 0, is seen. */
const seenIn: Readonly<Record<MaskMode, { readonly word: number[]; readonly image: number[] }>> = {
  full: { word: range(0, visual + text), image: range(0, visual + text) },
  'sequence-to-sequence': {
    word: range(visual + 2, visual + text),
    image: range(0, visual + text),
  },
  'bidirectional-auto-regressive': {
    word: [...range(0, visual), ...range(visual + 2, visual + text)],
    image: range(0, visual + text),
  },
};

for (const [mode, expected] of Object.entries(seenIn)) {
  test(`with the mask ${mode}, tokens attend to what MedViLL allows`, async (t) => {
    const session = await encoder(t, mode as MaskMode);
    const before = await states(session);
    t.is(before.length, visual + text);
    t.deepEqual(moved(before, await states(session, { ids: otherWord })), expected.word);
    t.deepEqual(moved(before, await states(session, { tokens: otherImage })), expected.image);
  });
}

for (const labelAttention of [false, true]) {
  const variants = labelAttention ? 'label variants' : 'plain variants';
  test(`padded text changes nothing in ${variants}, whatever its ids`, async (t) => {
    const session = await encoder(t, 'full', labelAttention);
    const before = await states(session);
    for (const padding of [0, 30]) {
      const ids = [...words, padding, padding];
      const mask = ids.map((_, i) => Number(i < words.length));
      const padded = await states(session, { ids, mask });
      t.deepEqual(padded.slice(0, visual + text), before);
    }
  });
}

test('text may be a closing [SEP] alone', async (t) => {
  const session = await encoder(t, 'full', true);
  t.is((await states(session, { ids: [3] })).length, visual + 1);
});
