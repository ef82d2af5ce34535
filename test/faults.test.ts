import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import test, { type ExecutionContext } from 'ava';
import { Channels } from '../lib/releases/store/channels.ts';
import { reportService } from '../lib/rpc/services.ts';
import { damaged, malformed } from './support/fuzz.ts';
import { DomainError, type ErrorCode } from '../lib/errors.ts';
import { serviceNames } from '../cli/start/cluster.ts';
import { Cleanup, makeStore, pictureFiles, readMetric, startChain } from './support/cluster.ts';
import { answers, startLoad } from './support/load.ts';
import { patienceMs, settled, until } from './support/waiting.ts';

const cleanup = new Cleanup();
let chain: Awaited<ReturnType<typeof startChain>>;
let store: Awaited<ReturnType<typeof makeStore>>;
let images: { data: Buffer }[];
const deaths: string[] = [];

test.before(async () => {
  store = await makeStore(cleanup, ['vit-label']);
  images = [{ data: (await pictureFiles()).png }];
  chain = await startChain(
    cleanup,
    {
      RADSCRIBE_STORE: store.url,
      RADSCRIBE_QUEUE_LIMIT: '12',
      // Longer than any call takes, on a busy machine too.
      RADSCRIBE_RELEASE_LINGER_MS: '30000',
    },
    { onDeath: (service) => deaths.push(service) },
  );
});
test.after.always(() => cleanup.run());

const report = () => chain.client.generateReport({ images });

/** A request for a report of 150 random tokens. */
const long = () => ({
  images,
  decoding: { strategy: 'DECODING_STRATEGY_SAMPLE', minTokens: 150, maxTokens: 150 } as const,
});
const isIdle = () =>
  until(
    async () =>
      (await readMetric(chain.ports.gateway.metrics, 'radscribe_in_flight')) === 0 &&
      (await readMetric(chain.ports.generator.metrics, 'radscribe_in_flight')) === 0,
    'no request in flight',
  );
const steps = () => readMetric(chain.ports.generator.metrics, 'radscribe_decode_steps_total');

/**
 * A call that fails with `code` before its report is written ends the decoding. A machine may be too
 * fast for the call to fail, or too busy to notice in time, so there are several attempts.
 */
async function endsDecoding(
  t: ExecutionContext,
  code: ErrorCode,
  call: (attempt: number) => Promise<unknown>,
): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const before = await steps();
    const error = await call(attempt).then(
      () => undefined,
      (error: unknown) => error as DomainError,
    );
    await isIdle();
    const taken = (await settled(steps)) - before;
    if (error !== undefined) t.is(error.code, code, error.message);
    if (error !== undefined && taken < 150) return;
  }
  t.fail('every attempt took every step');
}

test.serial('a cancelled stream stops decoding at the next step', (t) =>
  endsDecoding(t, 'CANCELLED', async () => {
    const controller = new AbortController();
    let seen = 0;
    const stream = chain.client.streamReport(long(), { signal: controller.signal });
    for await (const { text } of stream) if (text && (seen += 1) === 2) controller.abort();
  }),
);

test.serial('a call whose deadline passes fails and leaves the batch', (t) =>
  endsDecoding(t, 'DEADLINE_EXCEEDED', (attempt) =>
    chain.client.generateReport(long(), { deadline: Date.now() + 60 / 2 ** attempt }),
  ),
);

test.serial('readers who do not read delay no other call', async (t) => {
  const idle = Array.from({ length: 4 }, () => chain.client.streamReport({ images }));
  const iterators = idle.map((stream) => stream[Symbol.asyncIterator]());
  await Promise.all(iterators.map((iterator) => iterator.next()));
  const answered = await report();
  t.is(answered.tokens?.generated, 12);
  for (const iterator of iterators) {
    let last = await iterator.next();
    for (let next = last; next.done !== true; next = await iterator.next()) last = next;
    t.deepEqual(last.value.report?.report, answered.report, 'late, and whole');
  }
});

test.serial('a full chain refuses with a retry delay, and stays healthy', async (t) => {
  const results = await Promise.all(
    Array.from({ length: 60 }, async () => {
      try {
        await report();
        return undefined;
      } catch (error) {
        return error as DomainError;
      }
    }),
  );
  const refused = results.filter((result) => result !== undefined);
  t.log(`${60 - refused.length} answered, ${refused.length} refused`);
  t.true(refused.length > 0 && refused.length < 60);
  for (const error of refused) {
    t.is(error.code, 'RESOURCE_EXHAUSTED', error.message);
    t.true(Number(error.metadata['retryAfterMs']) > 0);
  }
  t.is((await report()).tokens?.generated, 12);
});

test.serial('arbitrary bytes on a port disturb no other call', async (t) => {
  const before = await report();
  for (const { grpc, metrics } of Object.values(chain.ports)) {
    for (const rubbish of [
      randomBytes(4096),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), randomBytes(4096)]),
    ]) {
      for (const port of [grpc, metrics]) {
        const socket = createConnection(port, '127.0.0.1');
        socket.on('error', () => {});
        socket.end(rubbish);
        await Promise.race([new Promise((resolve) => socket.once('close', resolve)), sleep(200)]);
        socket.destroy();
      }
    }
  }
  t.deepEqual((await report()).report, before.report);
  t.deepEqual(deaths, []);
});

test.serial(
  'a release is switched under load without a failed call or a mixed answer',
  async (t) => {
    const first = store.ids.get('vit-label')!;
    const second = await store.publish('vit-label', 2);
    const expected = new Map([[first, (await report()).report]]);
    const load = startLoad(4, report);
    await answers(load, 10);
    await store.store.promote('stable', second);
    while (load.responses.at(-1)?.release !== second) await answers(load, 1);
    await answers(load, 20);
    expected.set(second, (await report()).report);
    await store.store.promote('stable', first);
    while (load.responses.at(-1)?.release !== first) await answers(load, 1);
    await answers(load, 10);
    await load.stop();
    t.deepEqual(load.failures, []);
    for (const { release, report: text } of load.responses)
      t.deepEqual(text, expected.get(release));
    t.notDeepEqual(expected.get(first), expected.get(second));
  },
);

test.serial(
  'a corrupt release is never served; the previous one continues to answer',
  async (t) => {
    const first = store.ids.get('vit-label')!;
    const broken = await store.publish('vit-label', 3);
    const file = join(store.url, 'releases', broken, 'generator.safetensors');
    const bytes = await readFile(file);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(file, bytes);
    await t.throwsAsync(store.store.promote('stable', broken), { code: 'DATA_LOSS' });
    const load = startLoad(2, report);
    // As if the file had been damaged after the channel moved.
    await new Channels(store.store.objects).move('stable', broken);
    const failed = () =>
      readMetric(chain.ports.generator.metrics, 'radscribe_release_load_failures_total');
    await until(async () => (await failed()) > 0, 'a failed load');
    await answers(load, 10);
    await store.store.rollback('stable');
    await answers(load, 10);
    await load.stop();
    t.deepEqual(load.failures, []);
    t.deepEqual(new Set(load.responses.map(({ release }) => release)), new Set([first]));
  },
);

test.serial('1,000 malformed requests leave the service as it was', async (t) => {
  const seed = Date.now() % 1e6;
  t.log(`seed ${seed}`);
  const before = await report();
  const requests = malformed(seed, 1000, await pictureFiles());
  const ends = new Map<string, number>();
  const ask = async (): Promise<void> => {
    for (let next = requests.pop(); next !== undefined; next = requests.pop()) {
      const end = await chain.client
        .generateReport(next, { deadline: Date.now() + patienceMs })
        .then(
          () => 'OK',
          (error: unknown) => {
            const known = error instanceof DomainError && error.code === 'INVALID_ARGUMENT';
            if (known && error.field === undefined) t.fail(`no field: ${error.message}`);
            return error instanceof DomainError ? error.code : String(error);
          },
        );
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 4 }, ask));
  t.log(Object.fromEntries(ends));
  t.deepEqual([...ends.keys()].sort(), ['INVALID_ARGUMENT', 'OK']);
  t.true((ends.get('INVALID_ARGUMENT') ?? 0) > 500);
  t.deepEqual((await report()).report, before.report);
  t.deepEqual(deaths, []);
});

test.serial('bytes that are no message are refused and disturb no other call', async (t) => {
  const seed = Date.now() % 1e6;
  t.log(`seed ${seed}`);
  const client = new Client(`127.0.0.1:${chain.ports.gateway.grpc}`, credentials.createInsecure());
  const { path, requestSerialize } = reportService.generateReport as {
    readonly path: string;
    readonly requestSerialize: (this: void, request: object) => Uint8Array;
  };
  const valid = Buffer.from(requestSerialize({ images, requestId: 'r', variant: 'vit-label' }));
  for (const bytes of damaged(seed, 100, valid)) {
    const code = await new Promise<status>((resolve) => {
      const deadline = Date.now() + patienceMs;
      const same = (value: Buffer): Buffer => value;
      client.makeUnaryRequest(path, same, same, bytes, new Metadata(), { deadline }, (error) =>
        resolve(error?.code ?? status.OK),
      );
    });
    // grpc-js answers INTERNAL for what cannot be parsed.
    t.true([status.OK, status.INVALID_ARGUMENT, status.INTERNAL].includes(code), `${code}`);
  }
  client.close();
  t.is((await report()).tokens?.generated, 12);
  t.deepEqual(deaths, []);
});

for (const service of serviceNames) {
  test.serial(
    `after kill -9 of the only ${service} calls fail as unavailable until it is back, and then none`,
    async (t) => {
      const callers = 4;
      const before = await report();
      deaths.length = 0;
      const load = startLoad(callers, report);
      await answers(load, 10);
      process.kill(chain.cluster.child(service).pid!, 'SIGKILL');
      await until(() => deaths.length > 0, 'a death');
      await chain.cluster.ready(patienceMs);
      // Calls that met the dead process may still be waiting for a retry, and connections for theirs.
      let length: number;
      let rounds = 0;
      do {
        ({ length } = load.failures);
        await answers(load, 20);
      } while (load.failures.length > length && ++rounds < 20);
      await load.stop();
      t.log(`${load.responses.length} answered, ${length} failed`);
      t.is(load.failures.length, length);
      t.deepEqual(deaths, [service]);
      for (const { code } of load.failures) t.is(code, 'UNAVAILABLE');
      t.deepEqual((await report()).report, before.report);
    },
  );
}
