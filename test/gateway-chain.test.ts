import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { observations } from '../lib/text/labels/observations.ts';
import {
  type ChainEvent,
  type Generation,
  type Hop,
  type ImageInfo,
  type Label,
  type Piece,
  runChain,
  type Stages,
  type Study,
} from '../services/gateway/chain.ts';
import { resuming } from '../services/gateway/resume.ts';
import { Shadow } from '../services/gateway/shadow.ts';
import { ownMs } from '../services/gateway/timeline.ts';
import type { View } from '../services/gateway/views.ts';

const generation: Generation = {
  text: 'FINDINGS: The heart is large. IMPRESSION: Cardiomegaly.',
  finishReason: 'end',
  generatedTokens: 9,
  textTokens: 2,
  meanLogProbability: -0.1,
  timings: [{ stage: 'generate', startMs: 0, durationMs: 1 }],
};

/** Labels of one picture: `probability` for Cardiomegaly, 0 for the others. */
const labels = (probability: number): Label[] =>
  observations.map((name) => {
    const value = name === 'Cardiomegaly' ? probability : 0;
    return {
      name,
      probability: value,
      threshold: 0.5,
      state: value >= 0.5 ? 'positive' : 'negative',
    };
  });

/** Stages without models: a picture's first byte is its probability of cardiomegaly in per cent. */
function fakes(found: { views?: (View | undefined)[]; score?: number } = {}) {
  const calls: string[] = [];
  const prompts: string[] = [];
  const stages: Stages<number, string, ImageInfo> = {
    embed: async (image, field) => {
      calls.push(`embed ${field}`);
      const index = Number(/\d+/.exec(field)?.[0]);
      const value = image[0] ?? 0;
      if (value === 0) throw new DomainError('INVALID_ARGUMENT', 'IMAGE_EMPTY', field, { field });
      return {
        tokens: value,
        imageTokens: 4,
        pooled: value,
        image: { view: found.views?.[index] },
        outOfDistribution: found.score,
        timings: [{ stage: 'inference', startMs: 0, durationMs: 1 }],
      };
    },
    classify: async (pooled) => {
      calls.push(`classify ${pooled}`);
      return { labels: labels(pooled / 100), timings: [] };
    },
    generate: async function* generate({ tokens, text }) {
      calls.push(`generate ${tokens}`);
      prompts.push(text);
      yield { kind: 'text', text: 'FINDINGS:', tokens: 1 };
      yield { kind: 'end', generation };
    },
  };
  return { stages, calls, prompts };
}

const hop = (signal = new AbortController().signal): Hop => ({
  release: 'rs-1',
  priority: 'interactive',
  signal,
});

const study = (values: readonly number[], views: (View | undefined)[] = []): Study<string> => ({
  images: values.map((value, index) => ({ data: Uint8Array.of(value), view: views[index] })),
  indication: 'Fever.',
  decoding: 'greedy',
  includeLabels: false,
});

async function run(
  stages: Stages<number, string, ImageInfo>,
  asked: Study<string>,
  conditioned = true,
) {
  const events: ChainEvent<ImageInfo>[] = [];
  for await (const event of runChain(stages, asked, hop(), { conditioned, stream: true })) {
    events.push(event);
  }
  const last = events.at(-1);
  if (last?.kind !== 'report') throw new Error('no report');
  return { kinds: events.map(({ kind }) => kind), report: last.report };
}

test('a label variant writes from the labels, a plain one from the indication', async (t) => {
  const { stages, calls, prompts } = fakes();
  const labelled = await run(stages, study([80]));
  t.deepEqual(labelled.kinds, ['image', 'labels', 'text', 'report']);
  t.is(labelled.report.findings, 'The heart is large.');
  t.is(labelled.report.impression, 'Cardiomegaly.');
  const plain = await run(stages, study([80]), false);
  t.deepEqual(plain.kinds, ['image', 'text', 'report']);
  t.deepEqual(prompts, ['cardiomegaly', 'Fever.']);
  const asked = await run(stages, { ...study([80]), includeLabels: true }, false);
  t.is(asked.report.labels.length, 14);
  t.is(calls.filter((call) => call.startsWith('classify')).length, 2);
});

test('the text is from the PA view, the labels are from every frontal one', async (t) => {
  const { stages, calls } = fakes({ views: ['AP', 'PA', 'LATERAL'] });
  const { report } = await run(stages, study([90, 20, 99]));
  t.is(report.imageIndex, 1);
  t.true(calls.includes('generate 20'));
  t.is(report.labels.find(({ name }) => name === 'Cardiomegaly')?.probability, 0.9);
  t.deepEqual(
    report.warnings.map(({ code }) => code),
    ['FRONTAL_NOT_USED', 'LATERAL_NOT_USED'],
  );
});

test('a picture that the caller calls lateral costs no run where there is a frontal', async (t) => {
  const { stages, calls } = fakes();
  const { report } = await run(stages, study([10, 20], ['LATERAL', undefined]));
  t.false(calls.includes('embed images[0].data'));
  t.is(report.imageIndex, 1);
  t.deepEqual(report.images, [undefined, { view: undefined }]);
});

test('a lateral alone, a strange picture and a cut text are warned of', async (t) => {
  const { stages } = fakes({ views: ['LATERAL'], score: 3 });
  const cut: typeof stages = {
    ...stages,
    generate: async function* generate() {
      yield { kind: 'end', generation: { ...generation, finishReason: 'length' } };
    },
  };
  const { report } = await run(cut, study([10]));
  t.deepEqual(
    report.warnings.map(({ code }) => code),
    ['LATERAL_ONLY', 'OUT_OF_DISTRIBUTION', 'REPORT_TRUNCATED'],
  );
});

test('one bad picture fails the study by its field, and ends the others', async (t) => {
  const { stages } = fakes();
  const ended: string[] = [];
  const slow: typeof stages = {
    ...stages,
    embed: (image, field, { signal, ...rest }) =>
      image[0] === 0
        ? stages.embed(image, field, { signal, ...rest })
        : new Promise((_, reject) => {
            signal.addEventListener('abort', () => {
              ended.push(field);
              reject(signal.reason as Error);
            });
          }),
  };
  const error = await t.throwsAsync(run(slow, study([5, 0])), { instanceOf: DomainError });
  t.is(error.field, 'images[1].data');
  t.deepEqual(ended, ['images[0].data']);
});

test('what the gateway took itself is the whole without its calls, however they overlap', (t) => {
  const timing = (stage: string, startMs: number, durationMs: number) => ({
    stage,
    startMs,
    durationMs,
  });
  const own = ownMs([
    timing('gateway', 0, 100),
    timing('vision', 1, 30),
    timing('vision', 1, 50),
    timing('vision.inference', 5, 20),
    timing('labeler', 53, 7),
    timing('generator', 61, 38),
  ]);
  t.is(own, 100 - 50 - 7 - 38);
});

test('the timeline names each service and its parts, by start', async (t) => {
  const { stages } = fakes();
  const { report } = await run(stages, study([50]));
  t.deepEqual(
    report.timings.map(({ stage }) => stage).filter((stage) => !stage.includes('.')),
    ['gateway', 'vision', 'labeler', 'generator'],
  );
  t.true(report.timings.some(({ stage }) => stage === 'vision.inference'));
  const starts = report.timings.map(({ startMs }) => startMs);
  t.deepEqual(
    starts,
    starts.toSorted((a, b) => a - b),
  );
});

const unavailable = (): DomainError => new DomainError('UNAVAILABLE', 'GONE', 'the replica died');

/** One attempt after the other; an Error ends its attempt. */
function attempts(...parts: (readonly (string | Error)[])[]): () => AsyncIterable<Piece> {
  const left = [...parts];
  return async function* generate() {
    let text = '';
    for (const part of left.shift() ?? []) {
      if (part instanceof Error) throw part;
      text += part;
      yield { kind: 'text', text: part, tokens: 1 };
    }
    yield { kind: 'end', generation: { ...generation, text } };
  };
}

async function collect(pieces: AsyncIterable<Piece>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece.kind === 'text' ? piece.text : '.';
  return text;
}

test('a stream whose replica dies goes on from another without a word twice', async (t) => {
  t.is(await collect(resuming(attempts(['ab', 'c'], []))), 'abc.');
  t.is(await collect(resuming(attempts(['ab', unavailable()], ['a', 'bc', 'd']))), 'abcd.');
  t.is(await collect(resuming(attempts(['abcd', unavailable()], ['ab', 'cd']))), 'abcd.');
});

test('a stream is not begun a third time, nor with other words, nor for other errors', async (t) => {
  const failures = [
    attempts(['a', unavailable()], ['ab', unavailable()], ['abc']),
    attempts(['ab', unavailable()], ['xy']),
    attempts(['abc', unavailable()], ['ab']),
  ];
  for (const generate of failures) {
    const error = await t.throwsAsync(collect(resuming(generate)), { instanceOf: DomainError });
    t.is(error.reason, 'GONE');
  }
  const other = new DomainError('INTERNAL', 'BROKEN', 'broken');
  t.is(await t.throwsAsync(collect(resuming(attempts([other], ['a'])))), other);
});

test('shadow copies are compared, and shed first', async (t) => {
  const results: string[] = [];
  const shadow = new Shadow({
    share: 1,
    maxInFlight: 2,
    onComparison: (result) => results.push(result),
  });
  const same = { positive: ['Edema'], text: 'a' };
  const copy = (outcome: typeof same) => shadow.copy('k', same, false, async () => outcome);
  copy({ positive: ['Edema'], text: 'a' });
  copy({ positive: ['Edema'], text: 'b' });
  copy({ positive: [], text: 'a' });
  await shadow.settle();
  shadow.copy('k', same, true, () => Promise.resolve(same));
  shadow.copy('k', same, false, () => Promise.reject(unavailable()));
  await shadow.settle();
  t.deepEqual(results, ['shed', 'same', 'text_differs', 'shed', 'failed']);
});

test('a shadow without a share copies nothing', (t) => {
  const shadow = new Shadow({ share: 0, maxInFlight: 1, onComparison: () => t.fail() });
  shadow.copy('k', { positive: [], text: '' }, false, () => Promise.reject(new Error('called')));
  t.pass();
});
