import test from 'ava';
import { DomainError, invalidArgument } from '../lib/errors.ts';
import { observations } from '../lib/text/labels/observations.ts';
import type { GenerationListener, StageCall } from '../services/gateway/chain.ts';
import { type ModelClients, rpcModelServices } from '../services/gateway/model-services.ts';
import { GatewayRetries } from '../services/gateway/retries.ts';

const call: StageCall = {
  release: 'rs-1',
  priority: 'bulk',
  bulk: false,
  signal: new AbortController().signal,
  deadline: 1e15,
};
const release = 'rs-1';
const tensor = { dtype: 'DATA_TYPE_FLOAT16' as const, shape: [3, 1], data: new Uint8Array(6) };
const described = {
  format: 'dicom',
  width: 8,
  height: 9,
  bitsStored: 12,
  view: 'VIEW_AP' as const,
  encodedBytes: 5,
};
const embedded = { release, tokens: tensor, pooled: tensor, image: described, timings: [] };
const labels = observations.map((name, index) => ({
  name,
  probability: index / 20,
  threshold: 0.37,
  state: index === 9 ? ('LABEL_STATE_UNCERTAIN' as const) : ('LABEL_STATE_POSITIVE' as const),
}));
const result = {
  text: 'FINDINGS: Clear.',
  finishReason: 'FINISH_REASON_LENGTH' as const,
  generatedTokens: 4,
  textTokens: 2,
  steps: 4,
  meanLogProbability: -0.3,
  timings: [],
};

/** The model services over clients that answer as given, and the requests and options they received. */
function services(answers: {
  readonly embed?: object | Error;
  readonly classify?: object;
  readonly generate?: readonly (object | Error)[];
}) {
  const received: unknown[][] = [];
  const unary =
    (answer: object | Error | undefined) => async (request: unknown, options: unknown) => {
      received.push([request, options]);
      if (answer instanceof Error) throw answer;
      return answer;
    };
  const clients = {
    vision: { embed: unary(answers.embed) },
    labeler: { classify: unary(answers.classify) },
    generator: {
      async *generate(request: unknown, options: unknown) {
        received.push([request, options]);
        for (const message of answers.generate ?? []) {
          if (message instanceof Error) throw message;
          yield message;
        }
      },
    },
  };
  const retries = new GatewayRetries();
  return { ...rpcModelServices(clients as unknown as ModelClients, retries), received };
}

const fails = { instanceOf: DomainError };
const prompt = { tokens: tensor, text: 'edema', decoding: null };

test('requests carry the release and the priority, calls the signal and the deadline', async (t) => {
  const { embed, classify, generate, received } = services({
    embed: embedded,
    classify: { release, labels, timings: [] },
    generate: [{ release, result }],
  });
  const image = Buffer.from('x');
  const embedding = await embed(image, 'images[0].data', call);
  t.is(embedding.imageTokens, 3);
  t.is(embedding.image.view, 'AP');
  const classified = await classify(tensor, call);
  t.is(classified.labels[9]?.state, 'uncertain');
  t.is(classified.labels[8]?.state, 'positive');
  t.like(classified.labels[8], { name: observations[8], probability: 0.4, threshold: 0.37 });
  const listener: GenerationListener = { onAccepted: () => {}, onText: () => {} };
  t.is((await generate(prompt, call, listener)).finishReason, 'length');
  await generate(prompt, { ...call, priority: 'interactive' }, undefined);
  const { signal, deadline } = call;
  const batch = { release, priority: 'PRIORITY_BATCH' };
  t.deepEqual(received, [
    [
      { ...batch, image },
      { signal, deadline },
    ],
    [
      { ...batch, pooled: tensor },
      { signal, deadline },
    ],
    [
      { ...batch, ...prompt, stream: true },
      { signal, deadline },
    ],
    [
      { ...batch, ...prompt, priority: 'PRIORITY_INTERACTIVE', stream: false },
      { signal, deadline },
    ],
  ]);
});

test('an answer that lacks a part is an error', async (t) => {
  const incomplete = { ...fails, message: /sent an incomplete answer/ };
  for (const missing of ['tokens', 'pooled', 'image']) {
    const { embed } = services({ embed: { ...embedded, [missing]: null } });
    const error = await t.throwsAsync(embed(Buffer.from('x'), 'images[0].data', call), incomplete);
    t.like(error, { code: 'INTERNAL', reason: 'ANSWER_INCOMPLETE' });
    t.regex(error.message, /^vision /);
  }
  const swapped = [labels[1], labels[0], ...labels.slice(2)];
  for (const wrong of [labels.slice(1), [...labels, labels[0]], swapped]) {
    const { classify } = services({ classify: { release, labels: wrong, timings: [] } });
    const error = await t.throwsAsync(classify(tensor, call), incomplete);
    t.regex(error.message, /^labeler /);
  }
  const { generate } = services({ generate: [{ release, delta: { text: 'a', tokens: 1 } }] });
  const error = await t.throwsAsync(generate(prompt, call, undefined), incomplete);
  t.regex(error.message, /^generator /);
});

test('no answer of another release is used, whatever a service does', async (t) => {
  const other = 'rs-2';
  const { embed, classify } = services({
    embed: { ...embedded, release: other },
    classify: { release: other, labels, timings: [] },
  });
  const mixed = { ...fails, message: /answered with release rs-2, expected rs-1/ };
  const error = await t.throwsAsync(embed(Buffer.from('x'), 'images[0].data', call), mixed);
  t.like(error, { code: 'INTERNAL', reason: 'RELEASE_MIXED' });
  t.regex(error.message, /^vision /);
  t.regex((await t.throwsAsync(classify(tensor, call), mixed)).message, /^labeler /);
  const heard: string[] = [];
  const listener: GenerationListener = {
    onAccepted: () => heard.push('accepted'),
    onText: ({ text }) => heard.push(text),
  };
  const { generate } = services({
    generate: [
      { release, delta: { text: 'a', tokens: 1 } },
      { release: other, delta: { text: 'b', tokens: 2 } },
    ],
  });
  const mixture = await t.throwsAsync(generate(prompt, call, listener), mixed);
  t.regex(mixture.message, /^generator /);
  t.deepEqual(heard, ['accepted', 'a']);
});

test('a connection that is lost after the result loses nothing', async (t) => {
  const lost = new DomainError('UNAVAILABLE', 'GONE', 'the replica died');
  const { generate, received } = services({ generate: [{ release, result }, lost] });
  t.is((await generate(prompt, call, undefined)).text, result.text);
  t.is(received.length, 1);
});

test('an error of the vision service names the field of the request, others stay as they are', async (t) => {
  const cause = new Error('cause');
  const bad = invalidArgument('IMAGE_TRUNCATED', 'image', 'ends early', {
    cause,
    metadata: { bytes: '4' },
  });
  const renamed = await t.throwsAsync(
    services({ embed: bad }).embed(Buffer.from('x'), 'images[2].data', call),
    fails,
  );
  t.like(renamed, {
    code: 'INVALID_ARGUMENT',
    reason: 'IMAGE_TRUNCATED',
    field: 'images[2].data',
    message: 'images[2].data: ends early',
    cause,
  });
  t.is(renamed.metadata['bytes'], '4');
  const unnamed = new DomainError('INVALID_ARGUMENT', 'BAD', 'is bad');
  const named = services({ embed: unnamed }).embed(Buffer.from('x'), 'images[0].data', call);
  await t.throwsAsync(named, { message: 'images[0].data: is bad' });
  const other = new DomainError('DATA_LOSS', 'MODEL_BROKEN', 'broken', { field: 'image' });
  const kept = services({ embed: other }).embed(Buffer.from('x'), 'images[0].data', call);
  t.is(await t.throwsAsync(kept), other);
});
