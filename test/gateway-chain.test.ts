import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { observations } from '../lib/text/labels/observations.ts';
import {
  type ChainEvent,
  type Generation,
  type ImageInfo,
  type Label,
  type ModelServices,
  runChain,
  type StageCall,
  type Study,
} from '../services/gateway/chain.ts';
import { Shadow } from '../services/gateway/shadow.ts';
import type { View } from '../services/gateway/views.ts';

type Services = ModelServices<number, string, ImageInfo>;

const generation: Generation = {
  text: 'FINDINGS: The heart is large. IMPRESSION: Cardiomegaly.',
  finishReason: 'end',
  generatedTokens: 9,
  textTokens: 2,
  meanLogProbability: -0.1,
  timings: [{ stage: 'generate', startMs: 0, durationMs: 1 }],
};

const threshold = 0.37;

/** Labels of one image: `probability` for Cardiomegaly, a tenth of it for the others. */
const labelsOf = (probability: number): Label[] =>
  observations.map((name) => {
    const value = name === 'Cardiomegaly' ? probability : probability / 10;
    return {
      name,
      probability: value,
      threshold,
      state: value >= threshold ? 'positive' : 'negative',
    };
  });

/** Services without models: the first byte of an image is its probability of cardiomegaly in per cent. */
function fakes(found: { views?: (View | undefined)[]; distance?: number } = {}) {
  const calls: string[] = [];
  const prompts: string[] = [];
  const services: Services = {
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
        outOfDistribution: found.distance,
        timings: [{ stage: 'inference', startMs: 0, durationMs: 1 }],
      };
    },
    classify: async (pooled) => {
      calls.push(`classify ${pooled}`);
      const timings = [{ stage: 'queue', startMs: 0, durationMs: 1 }];
      return { labels: labelsOf(pooled / 100), timings };
    },
    generate: async ({ tokens, text }, _call, listener) => {
      calls.push(`generate ${tokens}`);
      prompts.push(text);
      listener?.onAccepted();
      listener?.onText({ text: 'FINDINGS:', tokens: 1 });
      return generation;
    },
  };
  return { services, calls, prompts };
}

const call: StageCall = {
  release: 'rs-1',
  priority: 'interactive',
  bulk: false,
  signal: new AbortController().signal,
  deadline: undefined,
};

const study = (values: readonly number[], views: (View | undefined)[] = []): Study<string> => ({
  images: values.map((value, index) => ({ data: Uint8Array.of(value), view: views[index] })),
  indication: 'Fever.',
  decoding: 'greedy',
  includeLabels: false,
});

async function run(services: Services, request: Study<string>, conditioned = true) {
  const events: ChainEvent<ImageInfo>[] = [];
  const emit = (event: ChainEvent<ImageInfo>): void => void events.push(event);
  const report = await runChain(services, request, call, { conditioned, emit });
  return { events, kinds: events.map(({ kind }) => kind), report };
}

test('a label variant writes from the labels, a plain one from the indication', async (t) => {
  const { services, calls, prompts } = fakes();
  const labelled = await run(services, study([80]));
  t.deepEqual(labelled.kinds, ['image', 'labels', 'text']);
  t.is(labelled.report.findings, 'The heart is large.');
  t.is(labelled.report.impression, 'Cardiomegaly.');
  const plain = await run(services, study([80]), false);
  t.deepEqual(plain.kinds, ['image', 'text']);
  t.deepEqual(prompts, ['cardiomegaly', 'Fever.']);
  const both = await run(services, { ...study([80]), includeLabels: true }, false);
  t.deepEqual(both.kinds, ['image', 'labels', 'text']);
  t.is(both.report.labels.length, 14);
  t.is(prompts.at(-1), 'Fever.', 'labels do not condition the text of a plain variant');
  t.is(calls.filter((name) => name.startsWith('classify')).length, 2);
});

test('no event is emitted before the generator has accepted the request', async (t) => {
  const { services } = fakes();
  const accepted = Promise.withResolvers<void>();
  const generating = Promise.withResolvers<void>();
  const events: ChainEvent<ImageInfo>[] = [];
  const slow: Services = {
    ...services,
    generate: async (prompt, stageCall, listener) => {
      generating.resolve();
      await accepted.promise;
      return services.generate(prompt, stageCall, listener);
    },
  };
  const running = runChain(slow, study([80, 70]), call, {
    conditioned: true,
    emit: (event) => events.push(event),
  });
  await generating.promise;
  t.deepEqual(events, []);
  accepted.resolve();
  const report = await running;
  t.deepEqual(events, [
    { kind: 'image', index: 0, image: { view: undefined } },
    { kind: 'image', index: 1, image: { view: undefined } },
    { kind: 'labels', labels: report.labels },
    { kind: 'text', text: 'FINDINGS:', tokens: 1 },
  ]);
});

test('without a listener for events the generator streams no text', async (t) => {
  const { services } = fakes();
  const silent: Services = {
    ...services,
    generate: async (_prompt, _call, listener) => {
      t.is(listener, undefined);
      return generation;
    },
  };
  const report = await runChain(silent, study([80]), call, { conditioned: true });
  t.is(report.impression, 'Cardiomegaly.');
});

test('the text is from the PA view, the labels are from every frontal one', async (t) => {
  const { services, calls } = fakes({ views: ['AP', 'PA', 'LATERAL'] });
  const { report } = await run(services, study([90, 20, 99]));
  t.is(report.imageIndex, 1);
  t.is(report.imageTokens, 4);
  t.true(calls.includes('generate 20'));
  t.false(calls.includes('classify 99'));
  const cardiomegaly = ({ labels }: typeof report) =>
    labels.find(({ name }) => name === 'Cardiomegaly')?.probability;
  t.is(cardiomegaly(report), 0.9);
  const swapped = await run(services, study([20, 90, 99]));
  t.is(cardiomegaly(swapped.report), 0.9, 'the highest of all, wherever it stands');
  t.deepEqual(
    report.warnings.map(({ code }) => code),
    ['FRONTAL_NOT_USED', 'LATERAL_NOT_USED'],
  );
});

test('an image that the caller calls lateral is not embedded if there is a frontal one', async (t) => {
  const { services, calls } = fakes();
  const { report } = await run(services, study([10, 20], ['LATERAL', undefined]));
  t.false(calls.includes('embed images[0].data'));
  t.is(report.imageIndex, 1);
  t.deepEqual(report.images, [undefined, { view: undefined }]);
});

test('the view that the caller states overrides that of the file', async (t) => {
  const { services } = fakes({ views: ['LATERAL', 'PA'] });
  const { report } = await run(services, study([10, 20], ['PA', 'AP']));
  t.is(report.imageIndex, 0);
});

test('a single lateral, an unusual image and a cut text get warnings', async (t) => {
  const { services } = fakes({ views: ['LATERAL'], distance: 3 });
  const cut: Services = {
    ...services,
    generate: async () => ({ ...generation, finishReason: 'length' }),
  };
  const { report } = await run(cut, study([10]));
  t.deepEqual(
    report.warnings.map(({ code, field }) => [code, field]),
    [
      ['LATERAL_ONLY', 'images[0]'],
      ['OUT_OF_DISTRIBUTION', 'images[0]'],
      ['REPORT_TRUNCATED', 'decoding.max_tokens'],
    ],
  );
  t.regex(report.warnings[2]!.message, /at 9 tokens/);
});

test('one invalid image fails the study by its field, once the aborted calls for the others have ended', async (t) => {
  const { services } = fakes();
  const aborted: string[] = [];
  const slow: Services = {
    ...services,
    embed: (image, field, stageCall) =>
      image[0] === 0
        ? services.embed(image, field, stageCall)
        : new Promise((_, reject) => {
            stageCall.signal.addEventListener('abort', () => {
              setImmediate(() => {
                aborted.push(field);
                reject(stageCall.signal.reason as Error);
              });
            });
          }),
  };
  const error = await t.throwsAsync(run(slow, study([5, 0])), { instanceOf: DomainError });
  t.is(error.field, 'images[1].data');
  t.deepEqual(aborted, ['images[0].data']);
});

test('the timings of a report name each service and its stages, by start', async (t) => {
  const { services } = fakes();
  const { report } = await run(services, study([50]));
  t.deepEqual(
    report.timings.map(({ stage }) => stage).filter((stage) => !stage.includes('.')),
    ['gateway', 'vision', 'labeler', 'generator'],
  );
  for (const stage of ['vision.inference', 'labeler.queue', 'generator.generate']) {
    t.true(report.timings.some((timing) => timing.stage === stage));
  }
  const starts = report.timings.map(({ startMs }) => startMs);
  t.deepEqual(
    starts,
    starts.toSorted((a, b) => a - b),
  );
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
  shadow.copy('k', same, false, () => Promise.reject(new Error('failed')));
  shadow.copy('k', same, false, () =>
    Promise.resolve({ positive: ['Edema', 'Fracture'], text: 'a' }),
  );
  await shadow.settle();
  t.deepEqual(results, ['shed', 'same', 'text_differs', 'shed', 'failed', 'labels_differ']);
});

test('a share of the requests is copied, the same ones each time', async (t) => {
  const outcome = { positive: [], text: '' };
  const copied = (): string[] => {
    const keys: string[] = [];
    const shadow = new Shadow({ share: 0.3, maxInFlight: 1000, onComparison: () => {} });
    for (let id = 0; id < 1000; id += 1) {
      const copy = async () => (keys.push(`${id}`), outcome);
      shadow.copy(`${id}`, outcome, false, copy);
    }
    return keys;
  };
  const keys = copied();
  t.true(keys.length > 240 && keys.length < 360, `${keys.length} of 1000`);
  t.deepEqual(copied(), keys);
});

test('a shadow without a share copies nothing', (t) => {
  const shadow = new Shadow({ share: 0, maxInFlight: 1, onComparison: () => t.fail() });
  shadow.copy('k', { positive: [], text: '' }, false, () => Promise.reject(new Error('called')));
  t.pass();
});
