import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import type { GenerateRequest, Sent } from '../lib/rpc/messages.ts';
import { generatorService } from '../lib/rpc/services.ts';
import { tensorMessage } from '../lib/rpc/tensors.ts';
import { settings } from '../services/generator/config.ts';
import { start } from '../services/generator/server.ts';
import { connect, metricOf, openTestStore, startService, until } from './support/services.ts';
import { settled } from './support/waiting.ts';

async function serve(t: Parameters<typeof openTestStore>[0], env: Record<string, string> = {}) {
  const { store, folder, publish } = await openTestStore(t);
  const release = await publish('vit-label');
  await store.promote('stable', release);
  const service = await startService(t, start, settings, { RADSCRIBE_STORE: folder, ...env });
  await service.ready();
  const client = connect(t, service.port, generatorService);
  const generate = async (request: Sent<GenerateRequest> = {}) => {
    const deltas = [];
    for await (const { delta, result } of client.generate({ release, tokens, ...request })) {
      if (delta) deltas.push(delta);
      if (result) return { result, deltas };
    }
    throw new Error('no result came');
  };
  const steps = () => metricOf(service.telemetry, 'radscribe_decode_steps_total');
  return { release, service, client, generate, steps };
}

const tokens = tensorMessage(
  [16, 96],
  Float32Array.from({ length: 16 * 96 }, (_, i) => Math.sin(i * 1.7)),
);
/** Long and varied: greedy decoding with random weights often repeats one word. */
const long = {
  strategy: 'DECODING_STRATEGY_SAMPLE' as const,
  temperature: 2,
  minTokens: 190,
  maxTokens: 190,
};

test('a report is streamed, and the deltas together are its text', async (t) => {
  const { service, generate, steps } = await serve(t);
  const decoding = { ...long, minTokens: 20, maxTokens: 30 };
  const { result, deltas } = await generate({
    text: 'cardiomegaly; edema',
    stream: true,
    decoding,
  });
  t.true(deltas.length > 3);
  t.is(deltas.map(({ text }) => text).join(''), result.text);
  t.true(result.generatedTokens >= 20 && result.generatedTokens <= 30);
  t.is(await steps(), result.steps);
  t.true(result.textTokens > 2);
  t.true(result.meanLogProbability < 0);
  t.deepEqual(
    result.timings.map(({ stage }) => stage),
    ['queue', 'prefill', 'generate', 'first_token'],
  );
  const { telemetry } = service;
  t.is(await metricOf(telemetry, 'gen_ai_server_time_to_first_token_seconds_count'), 1);
  t.is(await metricOf(telemetry, 'gen_ai_server_time_per_output_token_seconds_count'), 1);
  t.is(await metricOf(telemetry, 'radscribe_tokens_total', { kind: 'image' }), 16);
  const root = service.spans().find(({ name }) => name.endsWith('/Generate'));
  const children = service
    .spans()
    .filter(({ parentSpanContext }) => parentSpanContext?.spanId === root?.spanContext().spanId);
  t.deepEqual(
    children.map(({ name }) => name),
    ['queue', 'prefill', 'generate'],
  );
});

test('the same request gives the same text, streamed or not, alone or in a batch', async (t) => {
  const { generate } = await serve(t);
  const { result: alone, deltas } = await generate();
  t.deepEqual(deltas, []);
  const together = await Promise.all([
    generate({ stream: true }),
    generate({ text: 'edema' }),
    generate(),
  ]);
  t.is(together[0].result.text, alone.text);
  t.is(together[2].result.text, alone.text);
});

test('beams and sampling with a seed are taken from the request', async (t) => {
  const { generate } = await serve(t);
  const beam = { strategy: 'DECODING_STRATEGY_BEAM' as const, beams: 3, maxTokens: 8 };
  const { result, deltas } = await generate({ decoding: beam, stream: true });
  t.is(deltas.map(({ text }) => text).join(''), result.text);
  const sample = (seed: number) =>
    generate({ decoding: { strategy: 'DECODING_STRATEGY_SAMPLE', seed, maxTokens: 12 } });
  const [one, same, other] = await Promise.all([sample(1), sample(1), sample(2)]);
  t.is(one.result.text, same.result.text);
  t.not(one.result.text, other.result.text);
});

test('a cancelled stream takes no further step', async (t) => {
  const { client, release, service, steps } = await serve(t);
  const controller = new AbortController();
  const { signal } = controller;
  const request = { release, tokens, stream: true, decoding: long };
  const error = await t.throwsAsync(async () => {
    for await (const { delta } of client.generate(request, { signal })) {
      if ((delta?.tokens ?? 0) >= 3) controller.abort();
    }
  });
  t.like(error, { code: 'CANCELLED' });
  await until(async () => (await metricOf(service.telemetry, 'radscribe_in_flight')) === 0);
  const after = await settled(steps);
  t.true(after < 180, `${after} steps`);
});

test('a reader who leaves a stream ends its decoding', async (t) => {
  const { client, release, service, steps } = await serve(t);
  for await (const { delta } of client.generate({
    release,
    tokens,
    stream: true,
    decoding: long,
  })) {
    if (delta) break;
  }
  await until(async () => (await metricOf(service.telemetry, 'radscribe_in_flight')) === 0);
  const after = await settled(steps);
  t.true(after < 180, `${after} steps`);
});

test('a deadline that passes ends the decoding', async (t) => {
  const { client, release, service, steps } = await serve(t);
  const request = { release, tokens, decoding: { minTokens: 190, maxTokens: 191 } };
  // Too little for so many steps on any machine.
  const deadline = Date.now() + 20;
  const error = await t.throwsAsync(async () => {
    for await (const answer of client.generate(request, { deadline })) t.falsy(answer.delta);
  });
  t.like(error, { code: 'DEADLINE_EXCEEDED' });
  await until(async () => (await metricOf(service.telemetry, 'radscribe_in_flight')) === 0);
  const after = await settled(steps);
  t.true(after < 190, `${after} steps`);
});

test('an interactive request overtakes the bulk ones that wait, beam searches too', async (t) => {
  const { service, generate } = await serve(t, { RADSCRIBE_MAX_BATCH: '4' });
  const decoding = {
    strategy: 'DECODING_STRATEGY_BEAM' as const,
    beams: 4,
    minTokens: 60,
    maxTokens: 60,
  };
  let unfinished = 20;
  const bulk = Array.from({ length: unfinished }, async () => {
    await generate({ decoding, priority: 'PRIORITY_BATCH' });
    unfinished -= 1;
  });
  await until(async () => (await metricOf(service.telemetry, 'radscribe_queue_depth')) >= 15);
  t.is(await metricOf(service.telemetry, 'radscribe_in_flight'), 1, 'four beams are all rows');
  await generate({ decoding });
  t.true(unfinished >= 8, `${unfinished} of 20 bulk requests were still to be answered`);
  await Promise.all(bulk);
});

test('a bulk request finds a queue full that takes an interactive one', async (t) => {
  const { service, generate } = await serve(t, { RADSCRIBE_QUEUE_LIMIT: '2' });
  const running = generate({ decoding: long, priority: 'PRIORITY_BATCH' });
  await until(async () => (await metricOf(service.telemetry, 'radscribe_in_flight')) === 1);
  const refused = await t.throwsAsync(() => generate({ priority: 'PRIORITY_BATCH' }));
  t.like(refused, { code: 'RESOURCE_EXHAUSTED', reason: 'QUEUE_FULL' });
  await t.notThrowsAsync(() => generate({ decoding: { maxTokens: 1 } }));
  await running;
});

test('a slow reader delays no other request, and gets the whole text', async (t) => {
  const { client, release, generate } = await serve(t);
  let text = '';
  let whole = '';
  const reading = (async () => {
    for await (const { delta, result } of client.generate({
      release,
      tokens,
      stream: true,
      decoding: { ...long, minTokens: 60, maxTokens: 60 },
    })) {
      text += delta?.text ?? '';
      whole = result?.text ?? '';
      if (delta) await sleep(100);
    }
  })();
  await t.notThrowsAsync(() => generate());
  await reading;
  t.is(text, whole);
});

test('a value out of range is refused by field', async (t) => {
  const { generate } = await serve(t, { RADSCRIBE_MAX_BATCH: '4' });
  const wide = tensorMessage([15, 96], new Float32Array(15 * 96));
  const bad: Readonly<Record<string, Sent<GenerateRequest>>> = {
    tokens: { tokens: wide },
    text: { text: 'x'.repeat(10_001) },
    'decoding.top_p': { decoding: { topP: 2 } },
    'decoding.max_tokens': { decoding: { maxTokens: 0 } },
    'decoding.temperature': { decoding: { temperature: Number.NaN } },
    'decoding.beams': { decoding: { strategy: 'DECODING_STRATEGY_BEAM', beams: 5 } },
  };
  for (const [field, request] of Object.entries(bad)) {
    const error = await t.throwsAsync(() => generate(request), { instanceOf: DomainError }, field);
    t.like(error, { code: 'INVALID_ARGUMENT', field });
  }
  await t.notThrowsAsync(() => generate());
});

test('a text that is longer than the release reads is cut, not refused', async (t) => {
  const { generate } = await serve(t);
  const { result } = await generate({ text: 'severe cardiomegaly with edema '.repeat(50) });
  t.is(result.textTokens, 48);
});

test('a full queue refuses at once, and the admitted requests succeed', async (t) => {
  const env = { RADSCRIBE_QUEUE_LIMIT: '3', RADSCRIBE_MAX_BATCH: '2' };
  const { service, generate } = await serve(t, env);
  const decoding = { minTokens: 40, maxTokens: 40 };
  const calls = await Promise.allSettled(Array.from({ length: 10 }, () => generate({ decoding })));
  const refused = calls.flatMap((call) => (call.status === 'rejected' ? [call.reason] : []));
  t.true(refused.length >= 1 && refused.length <= 7, `${refused.length} refused`);
  for (const error of refused) t.like(error, { code: 'RESOURCE_EXHAUSTED', reason: 'QUEUE_FULL' });
  const counted = await metricOf(service.telemetry, 'radscribe_rejected_total', {
    reason: 'queue_full',
  });
  t.is(counted, refused.length);
  await t.notThrowsAsync(() => generate());
});
