import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { DomainError } from '../lib/errors.ts';
import { bind, startServer } from '../lib/rpc/server.ts';
import { reportService } from '../lib/rpc/services.ts';
import { type ExampleClient, exampleClients, runClient } from './support/clients.ts';
import { Cleanup, makeStore, pictureFiles, startChain } from './support/cluster.ts';
import { testTelemetry } from './support/services.ts';

const cleanup = new Cleanup();
test.after.always(() => cleanup.run());

/** A running chain, its release, and files to send to it. */
async function prepare() {
  const { url, ids } = await makeStore(cleanup, ['vit-label']);
  const { ports } = await startChain(cleanup, { RADSCRIBE_STORE: url });
  const folder = await mkdtemp(path.join(tmpdir(), 'radscribe-images-'));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  const image = path.join(folder, 'image.png');
  const damaged = path.join(folder, 'damaged.png');
  const { png } = await pictureFiles();
  await writeFile(image, png);
  await writeFile(damaged, png.subarray(0, png.length / 2));
  return {
    address: `127.0.0.1:${ports.gateway.grpc}`,
    release: ids.get('vit-label')!,
    image,
    damaged,
  };
}
let prepared: ReturnType<typeof prepare> | undefined;
const programs = new Map<ExampleClient, ReturnType<ExampleClient['build']>>();
const programOf = (client: ExampleClient) => {
  const built = programs.get(client) ?? client.build(cleanup);
  programs.set(client, built);
  return built;
};

/** Refuses the first call as a full queue does, then answers; keeps what the callers sent along. */
async function startBusyGateway() {
  const calls: {
    readonly authorization: string | undefined;
    readonly deadline: number | undefined;
  }[] = [];
  const { telemetry } = testTelemetry('gateway');
  const unused = async () => {
    throw new Error('no client calls it');
  };
  const service = bind(reportService, {
    generateReport: unused,
    listReleases: unused,
    getRelease: unused,
    // oxlint-disable-next-line require-yield
    async *batchGenerateReports() {
      await unused();
    },
    async *streamReport(_, { metadata, deadline }) {
      calls.push({ authorization: metadata.get('authorization'), deadline });
      if (calls.length === 1) {
        throw new DomainError('RESOURCE_EXHAUSTED', 'QUEUE_FULL', 'the queue is full', {
          metadata: { retryAfterMs: '40' },
        });
      }
      yield { labels: { labels: [label('Edema', 0.83, true), label('Fracture', 0.11, false)] } };
      yield { text: { text: 'FINDINGS: none', tokens: 3 } };
      yield { report: { release: 'rs-fake', warnings: [{ message: 'a lateral view' }] } };
    },
  });
  const server = await startServer({ host: '127.0.0.1', port: 0, telemetry, services: [service] });
  cleanup.add(() => server.close());
  return { address: `127.0.0.1:${server.port}`, calls };
}

const label = (name: string, probability: number, positive: boolean) => ({
  name,
  probability,
  state: positive ? ('LABEL_STATE_POSITIVE' as const) : ('LABEL_STATE_NEGATIVE' as const),
});

for (const client of exampleClients) {
  const { language, lacks } = client;
  const withTools = lacks === undefined ? test : test.skip;
  const because = lacks === undefined ? '' : ` (this machine lacks ${lacks})`;

  withTools(
    `the ${language} client prints the streamed report of an image${because}`,
    async (t) => {
      const program = await programOf(client);
      const { address, release, image } = await (prepared ??= prepare());
      const { code, stdout, stderr } = await runClient(program, [address, image]);
      t.is(code, 0, stderr);
      t.regex(stdout, new RegExp(String.raw`\n\nby release ${release}\n`));
    },
  );

  withTools(`the ${language} client names the field that was wrong${because}`, async (t) => {
    const program = await programOf(client);
    const { address, damaged } = await (prepared ??= prepare());
    const { code, stderr } = await runClient(program, [address, damaged]);
    t.is(code, 1, stderr);
    t.regex(
      stderr,
      /invalid_?argument IMAGE_[A-Z]+: images\[0\]\.data: .+\nfield: images\[0\]\.data\n/i,
    );
  });

  withTools(
    `the ${language} client waits as a RetryInfo says, sends its token and a deadline${because}`,
    async (t) => {
      const program = await programOf(client);
      const { address, calls } = await startBusyGateway();
      const { image } = await (prepared ??= prepare());
      const settings = { RADSCRIBE_TOKEN: 'secret' };
      const { code, stdout, stderr } = await runClient(program, [address, image], settings);
      t.is(code, 0, stderr);
      t.is(stdout, 'Edema 0.83\nFINDINGS: none\n\nby release rs-fake\nwarning: a lateral view\n');
      t.deepEqual(
        calls.map(({ authorization }) => authorization),
        ['Bearer secret', 'Bearer secret'],
      );
      t.true(calls.every(({ deadline }) => deadline !== undefined));
    },
  );
}
