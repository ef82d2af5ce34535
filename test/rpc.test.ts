import { connect as connectHttp2 } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTcp } from 'node:net';
import { Client, credentials, status } from '@grpc/grpc-js';
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace';
import test, { type ExecutionContext } from 'ava';
import { DomainError, invalidArgument } from '../lib/errors.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { flowControlWindow } from '../lib/rpc/limits.ts';
import { type RpcServerOptions, bind, startServer } from '../lib/rpc/server.ts';
import { labelerService, generatorService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { until } from './support/waiting.ts';

type Handlers = Parameters<typeof bind<typeof labelerService>>[1];

const telemetryFor = (service: string) => {
  const exporter = new InMemorySpanExporter();
  return { exporter, telemetry: createTelemetry({ service, exporter, logLevel: 'silent' }) };
};

async function serve(
  t: ExecutionContext,
  classify: Handlers['classify'],
  options: Partial<RpcServerOptions> = {},
) {
  const { telemetry, exporter } = telemetryFor('labeler');
  const server = await startServer({
    host: '127.0.0.1',
    port: 0,
    telemetry,
    services: [bind(labelerService, { classify })],
    graceMs: 2000,
    ...options,
  });
  server.setReady(true);
  t.teardown(() => server.close());
  return { server, telemetry, exporter };
}

function connect(t: ExecutionContext, port: number, options = {}) {
  const { telemetry, exporter } = telemetryFor('client');
  const channel = openChannel(`127.0.0.1:${port}`, { telemetry, ...options });
  t.teardown(() => channel.close());
  return { client: channel.client(labelerService), channel, telemetry, exporter };
}

/** Resolves when the signal fires, or has. */
const end = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', resolve);
  });

const countOf = async (metrics: { getMetricsAsJSON(): Promise<unknown> }, name: string) => {
  const all = (await metrics.getMetricsAsJSON()) as {
    name: string;
    values: { metricName: string; value: number; labels: Record<string, string> }[];
  }[];
  const values = all.find((metric) => metric.name === name)?.values ?? [];
  return values
    .filter(({ metricName }) => metricName === `${name}_count`)
    .map(({ value, labels }) => [labels['rpc_grpc_status_code'], value]);
};

test('a call is answered, counted at both ends, and is one trace', async (t) => {
  const { server, telemetry, exporter } = await serve(t, async ({ release, pooled }) => ({
    release,
    timings: [{ stage: `${pooled?.shape.join('x')} ${pooled?.data.length}` }],
  }));
  const { client, telemetry: mine, exporter: spans } = connect(t, server.port);
  const pooled = {
    dtype: 'DATA_TYPE_FLOAT16' as const,
    shape: [2, 3],
    data: new Uint8Array(12),
  };
  const answer = await client.classify({ release: 'rs-1', pooled });
  t.is(answer.release, 'rs-1');
  t.deepEqual(answer.labels, []);
  t.is(answer.timings[0]?.stage, '2x3 12');
  t.deepEqual(await countOf(telemetry.metrics.registry, 'rpc_server_call_duration_seconds'), [
    ['OK', 1],
  ]);
  t.deepEqual(await countOf(mine.metrics.registry, 'rpc_client_call_duration_seconds'), [
    ['OK', 1],
  ]);
  const [inner] = exporter.getFinishedSpans();
  const [outer] = spans.getFinishedSpans();
  t.is(inner?.spanContext().traceId, outer?.spanContext().traceId);
  t.is(inner?.parentSpanContext?.spanId, outer?.spanContext().spanId);
  t.regex(await telemetry.metrics.registry.metrics(), /# \{trace_id="[0-9a-f]{32}"/);
});

test('a service that traces does so for a client that does not', async (t) => {
  const { server: last, exporter: kept } = await serve(t, async () => ({}));
  const silent = createTelemetry({ service: 'silent', logLevel: 'silent' });
  const { client: onward } = connect(t, last.port, { telemetry: silent });
  const { server } = await serve(t, () => onward.classify({}), { telemetry: silent });
  // From nowhere, through a service that is silent as well: the last begins a trace.
  await connect(t, server.port, { telemetry: silent }).client.classify({});
  const [root] = kept.getFinishedSpans();
  t.is(root?.parentSpanContext, undefined);
  t.not(root, undefined);
  // With a trace, the silent one in the middle passes it on.
  const { client, exporter: spans } = connect(t, server.port);
  await client.classify({});
  const [, inner] = kept.getFinishedSpans();
  const [outer] = spans.getFinishedSpans();
  t.not(inner, undefined);
  t.is(inner?.spanContext().traceId, outer?.spanContext().traceId);
});

test('a domain error comes back as it was thrown', async (t) => {
  const { server } = await serve(t, async () => {
    throw invalidArgument('TENSOR_INVALID', 'pooled', 'has no shape', {
      metadata: { channels: '3' },
    });
  });
  const { client } = connect(t, server.port);
  const error = await t.throwsAsync(() => client.classify({}), { instanceOf: DomainError });
  t.like(error, {
    code: 'INVALID_ARGUMENT',
    reason: 'TENSOR_INVALID',
    field: 'pooled',
    message: 'pooled: has no shape',
    metadata: { channels: '3' },
  });
});

test('the message of an unknown error stays in the service', async (t) => {
  const { server, telemetry } = await serve(t, async () => {
    throw new Error('the name of a patient');
  });
  const { client } = connect(t, server.port);
  const error = await t.throwsAsync(() => client.classify({}), { instanceOf: DomainError });
  t.like(error, { code: 'INTERNAL', message: 'internal error' });
  t.deepEqual(await countOf(telemetry.metrics.registry, 'rpc_server_call_duration_seconds'), [
    ['INTERNAL', 1],
  ]);
});

test('the deadline of a call reaches its handler and ends the call at both ends', async (t) => {
  let left = Number.NaN;
  const aborted = Promise.withResolvers<void>();
  const { server } = await serve(t, async ({ release }, { deadline, signal }) => {
    if (release === 'first') return {};
    left = (deadline ?? Number.NaN) - Date.now();
    await end(signal);
    aborted.resolve();
    return {};
  });
  const { client } = connect(t, server.port);
  await client.classify({ release: 'first' });
  // Twice as much time again and again, until it is enough to reach the handler.
  let limitMs = 500;
  while (Number.isNaN(left)) {
    limitMs *= 2;
    const call = client.classify({}, { deadline: Date.now() + limitMs });
    await t.throwsAsync(call, { message: /did not answer before the deadline|Deadline exceeded/ });
  }
  await aborted.promise;
  t.true(left <= limitMs + 1, `${left} ms were left`);
});

test('a call that is UNAVAILABLE is repeated, even with a message of 3 MB; others are not', async (t) => {
  let calls = 0;
  const { server } = await serve(t, async ({ release }) => {
    calls++;
    if (release === 'bad') throw new DomainError('INTERNAL', 'BAD', 'bad');
    if (calls === 1) throw new DomainError('UNAVAILABLE', 'AWAY', 'away');
    return { release };
  });
  const { client } = connect(t, server.port);
  const pooled = { data: new Uint8Array(3e6) };
  t.is((await client.classify({ release: 'good', pooled })).release, 'good');
  t.is(calls, 2);
  await t.throwsAsync(() => client.classify({ release: 'bad' }), { message: 'bad' });
  t.is(calls, 3);
});

test('a server accepts a whole image without a window update, on the connection and on its streams', async (t) => {
  const { server } = await serve(t, async () => ({}));
  const session = connectHttp2(`http://127.0.0.1:${server.port}`);
  t.teardown(() => session.destroy());
  const headers = { ':method': 'POST', ':path': '/radscribe.v1.LabelerService/Classify' };
  const call = session.request({ ...headers, 'content-type': 'application/grpc', te: 'trailers' });
  call.end(Buffer.alloc(5));
  await new Promise((resolve) => call.resume().once('end', resolve));
  t.is(session.remoteSettings.initialWindowSize, flowControlWindow);
  t.true((session.state.remoteWindowSize ?? 0) > flowControlWindow / 2);
});

test('a cancelled call aborts its handler', async (t) => {
  const aborted = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const { server } = await serve(t, async (_request, { signal }) => {
    begun.resolve();
    await end(signal);
    aborted.resolve();
    return {};
  });
  const { client } = connect(t, server.port);
  const controller = new AbortController();
  const call = client.classify({}, { signal: controller.signal });
  await begun.promise;
  controller.abort();
  const error = await t.throwsAsync(call, { instanceOf: DomainError });
  t.is(error.reason, 'RPC_CANCELLED');
  t.is(error.code, 'CANCELLED');
  await aborted.promise;
});

test('a message over the limit is refused, and nothing else fails', async (t) => {
  const { server } = await serve(t, async () => ({}), { maxMessageBytes: 1000 });
  const { client } = connect(t, server.port);
  const error = await t.throwsAsync(
    () => client.classify({ pooled: { data: new Uint8Array(2000) } }),
    { instanceOf: DomainError },
  );
  t.is(error.code, 'RESOURCE_EXHAUSTED');
  await t.notThrowsAsync(() => client.classify({}));
});

/** A unary call by grpc-js alone: [health status], written by hand. */
function plainHealth(t: ExecutionContext, port: number) {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.teardown(() => client.close());
  return (service = '') =>
    new Promise<number | string>((resolve) => {
      const request = Buffer.concat([Buffer.from([0x0a, service.length]), Buffer.from(service)]);
      client.makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        request,
        (error, answer) => resolve(error ? error.code : (answer?.[1] ?? 0)),
      );
    });
}

test('health follows readiness, for the process and for each service', async (t) => {
  const { server } = await serve(t, async () => ({}));
  const check = plainHealth(t, server.port);
  server.setReady(false);
  t.is(await check(), 2);
  // A probe that restarts processes must not restart one that loads, drains or is full.
  t.is(await check('liveness'), 1);
  server.setReady(true);
  t.is(await check(), 1);
  t.is(await check('radscribe.v1.LabelerService'), 1);
  t.is(await check('radscribe.v1.NoService'), 5);
});

test('closing answers calls in flight and, in the drain delay, new ones', async (t) => {
  const begun = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  const { server } = await serve(
    t,
    async ({ release }) => {
      begun.resolve();
      if (release === 'before') await finish.promise;
      return { release };
    },
    { drainDelayMs: 3000 },
  );
  const { client } = connect(t, server.port);
  const check = plainHealth(t, server.port);
  t.is(await check(), 1);
  const before = client.classify({ release: 'before' });
  await begun.promise;
  const closed = server.close();
  t.is(await check(), 2);
  t.is((await client.classify({ release: 'during' })).release, 'during');
  finish.resolve();
  t.is((await before).release, 'before');
  await closed;
  const error = await t.throwsAsync(() => client.classify({}), { instanceOf: DomainError });
  t.is(error.code, 'UNAVAILABLE');
});

test('a call that does not end within the grace period is cancelled', async (t) => {
  const { server } = await serve(
    t,
    async (_request, { signal }) => {
      await end(signal);
      return {};
    },
    { graceMs: 100 },
  );
  const { client } = connect(t, server.port, { retries: false });
  const call = t.throwsAsync(() => client.classify({}));
  await sleep(50);
  await server.close();
  await call;
  t.pass();
});

test('the handler of a stream ends when its reader leaves', async (t) => {
  const { telemetry } = telemetryFor('generator');
  const ended = Promise.withResolvers<number>();
  const server = await startServer({
    host: '127.0.0.1',
    port: 0,
    telemetry,
    services: [
      bind(generatorService, {
        async *generate(_request, { signal }) {
          let tokens = 0;
          try {
            while (!signal.aborted) {
              yield { delta: { text: 'word ', tokens: ++tokens } };
              await sleep(5);
            }
          } finally {
            ended.resolve(tokens);
          }
        },
      }),
    ],
  });
  t.teardown(() => server.close());
  const { channel } = connect(t, server.port);
  const tokens: number[] = [];
  for await (const { delta } of channel.client(generatorService).generate({})) {
    tokens.push(delta?.tokens ?? 0);
    if (tokens.length === 3) break;
  }
  t.deepEqual(tokens, [1, 2, 3]);
  await ended.promise;
  const counts = () => countOf(telemetry.metrics.registry, 'rpc_server_call_duration_seconds');
  await until(async () => (await counts()).length > 0, 'a counted call');
  t.deepEqual(await counts(), [['CANCELLED', 1]]);
});

test('a port that is in use is named', async (t) => {
  const { server } = await serve(t, async () => ({}));
  await t.throwsAsync(() => serve(t, async () => ({}), { port: server.port }), {
    message: new RegExp(`127.0.0.1:${server.port} is in use`),
  });
});

test('arbitrary bytes on the port and in a message disturb no other call', async (t) => {
  const { server } = await serve(t, async ({ release }) => ({ release }));
  const { client } = connect(t, server.port);
  for (const rubbish of ['GET / HTTP/1.1\r\n\r\n', '\0'.repeat(1000), 'PRI * HTTP/2.0\r\n\r\nSM']) {
    await new Promise<void>((resolve) => {
      const socket = connectTcp(server.port, '127.0.0.1', () => socket.end(rubbish));
      socket.on('error', () => resolve());
      socket.on('close', () => resolve());
      socket.resume();
    });
  }
  const plain = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
  t.teardown(() => plain.close());
  const code = await new Promise<number | undefined>((resolve) => {
    plain.makeUnaryRequest(
      '/radscribe.v1.LabelerService/Classify',
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.from([0x0f, 0xff]),
      (error) => resolve(error?.code),
    );
  });
  t.is(code, status.INTERNAL);
  t.is((await client.classify({ release: 'good' })).release, 'good');
});

test('a broken service is not flooded: retries are paid from a budget', async (t) => {
  let calls = 0;
  const { server } = await serve(t, async () => {
    calls++;
    throw new DomainError('UNAVAILABLE', 'AWAY', 'away');
  });
  const { client } = connect(t, server.port);
  const count = 60;
  for (let turn = 0; turn < count; turn++) {
    const error = await t.throwsAsync(() => client.classify({}), { instanceOf: DomainError });
    t.is(error.reason, 'AWAY');
  }
  // With four attempts each it would be 240; half of 50 tokens are there to be spent.
  t.true(calls > count && calls <= count + 30, `${calls} calls`);
});
