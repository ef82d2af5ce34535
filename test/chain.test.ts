import { Client, credentials, Metadata as RawMetadata } from '@grpc/grpc-js';
import test from 'ava';
import { type VariantName, variantNames } from '../lib/models/variants.ts';
import { reportService } from '../lib/rpc/services.ts';
import type {
  BatchGenerateReportsRequest,
  GenerateReportResponse,
  Sent,
} from '../lib/rpc/messages.ts';
import {
  Cleanup,
  makeStore,
  pictureFiles,
  readMetric,
  type Span,
  startChain,
  startCollector,
} from './support/cluster.ts';

const cleanup = new Cleanup();
type Chain = Awaited<ReturnType<typeof startChain>>;
let chain: Chain;
let collector: Awaited<ReturnType<typeof startCollector>>;
let ids: ReadonlyMap<VariantName, string>;
let files: Awaited<ReturnType<typeof pictureFiles>>;

test.before(async () => {
  const variants = ['vit-label', ...variantNames.filter((name) => name !== 'vit-label')] as const;
  const store = await makeStore(cleanup, variants);
  collector = await startCollector(cleanup);
  files = await pictureFiles();
  ids = store.ids;
  chain = await startChain(cleanup, {
    RADSCRIBE_STORE: store.url,
    RADSCRIBE_CHANNELS: ['stable', ...variants].join(','),
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  });
});
test.after.always(() => cleanup.run());

const content = ({ report, labels, release }: GenerateReportResponse) => ({
  report,
  labels,
  release,
});

async function stream(request: Parameters<Chain['client']['streamReport']>[0]) {
  let text = '';
  for await (const { text: delta, report } of chain.client.streamReport(request)) {
    text += delta?.text ?? '';
    if (report) return { text, report };
  }
  throw new Error('no report');
}

async function batch(requests: readonly Sent<BatchGenerateReportsRequest>[]) {
  async function* items() {
    yield* requests;
  }
  const reports = new Map<string, GenerateReportResponse>();
  for await (const { itemId, report, error } of chain.client.batchGenerateReports(items())) {
    if (error) throw new Error(error.message);
    reports.set(itemId, report!);
  }
  return reports;
}

for (const variant of variantNames) {
  test.serial(
    `${variant}: unary, stream and batch give one report, from PNG as from DICOM`,
    async (t) => {
      const ask = { variant, includeLabels: true };
      const unary = await chain.client.generateReport({ ...ask, images: [{ data: files.png }] });
      t.is(unary.release, ids.get(variant)!);
      t.is(unary.variant, variant);
      t.is(unary.labels.length, 14);
      t.is(unary.tokens?.generated, 12);
      t.like(unary.images[0], { format: 'png', width: 160, height: 160 });
      const streamed = await stream({ ...ask, images: [{ data: files.dicom }] });
      t.deepEqual(content(streamed.report), content(unary));
      t.like(streamed.report.images[0], { format: 'dicom', view: 'VIEW_PA' });
      const whole = [unary.report?.findings, unary.report?.impression].join('');
      t.is(
        streamed.text.replaceAll(/FINDINGS ?:|IMPRESSION ?:|\s/g, ''),
        whole.replaceAll(/\s/g, ''),
      );
      const reports = await batch([
        { itemId: 'png', request: { ...ask, images: [{ data: files.png }] } },
        { itemId: 'dicom', request: { ...ask, images: [{ data: files.dicom }] } },
      ]);
      for (const report of reports.values()) t.deepEqual(content(report), content(unary));
    },
  );
}

test.serial(
  'concurrent requests share batches and get the reports that they get alone',
  async (t) => {
    const images = await Promise.all([2, 3, 4].map((seed) => pictureFiles(seed)));
    const ask = ({ png }: (typeof images)[0]) =>
      chain.client.generateReport({ images: [{ data: png }] });
    const alone: GenerateReportResponse[] = [];
    for (const each of images) alone.push(await ask(each));
    const together = await Promise.all([...images, ...images, ...images].map(ask));
    for (const [index, response] of together.entries()) {
      t.deepEqual(response.report, alone[index % images.length]?.report);
    }
  },
);

test.serial('decoding options reach the decoder', async (t) => {
  const images = [{ data: files.png }];
  const short = await chain.client.generateReport({
    images,
    decoding: { minTokens: 0, maxTokens: 3 },
  });
  t.is(short.tokens?.generated, 3);
  t.is(short.finishReason, 'FINISH_REASON_LENGTH');
  t.deepEqual(
    short.warnings.map(({ code }) => code),
    ['REPORT_TRUNCATED'],
  );
  const sample = (seed: number) =>
    ({ images, decoding: { strategy: 'DECODING_STRATEGY_SAMPLE', seed } }) as const;
  const one = await chain.client.generateReport(sample(1));
  t.deepEqual((await chain.client.generateReport(sample(1))).report, one.report);
  t.notDeepEqual((await chain.client.generateReport(sample(2))).report, one.report);
  const beams = { strategy: 'DECODING_STRATEGY_BEAM', beams: 3 } as const;
  t.is((await chain.client.generateReport({ images, decoding: beams })).tokens?.generated, 12);
});

/** A call by a client without our code. */
function plainCall(client: Client, path: string, request: Buffer, metadata = new RawMetadata()) {
  return new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
      request,
      metadata,
      (error, response) => (error ? reject(error) : resolve(response!)),
    );
  });
}

test.serial('health and reflection answer a plain client', async (t) => {
  for (const { grpc } of Object.values(chain.ports)) {
    const client = new Client(`127.0.0.1:${grpc}`, credentials.createInsecure());
    const health = await plainCall(client, '/grpc.health.v1.Health/Check', Buffer.alloc(0));
    t.deepEqual([...health], [8, 1], 'SERVING');
    const list = client.makeBidiStreamRequest(
      '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
    );
    list.write(Buffer.from('3a00', 'hex')); // list_services: ''
    const names = await new Promise<string>((resolve, reject) => {
      list.on('data', (bytes: Buffer) => resolve(bytes.toString('latin1')));
      list.on('error', reject);
    });
    t.regex(names, /radscribe\.v1\.(Report|Vision|Labeler|Generator)Service/);
    list.end();
    client.close();
  }
});

test.serial('every call is counted, by method and code', async (t) => {
  const page = chain.ports.gateway.metrics;
  const counted = (code: string): Promise<number> =>
    readMetric(
      page,
      `rpc_server_call_duration_seconds_count{rpc_service="radscribe.v1.ReportService",rpc_method="GenerateReport",rpc_grpc_status_code="${code}"}`,
    );
  const before = { ok: await counted('OK'), bad: await counted('INVALID_ARGUMENT') };
  const embeds = () =>
    readMetric(
      chain.ports.vision.metrics,
      'rpc_server_call_duration_seconds_count{rpc_service="radscribe.v1.VisionService",rpc_method="Embed"',
    );
  const tokens = () =>
    readMetric(chain.ports.generator.metrics, 'radscribe_tokens_total{kind="generated"}');
  const generations = (code: string): Promise<number> =>
    readMetric(
      page,
      `rpc_client_call_duration_seconds_count{rpc_service="radscribe.v1.GeneratorService",rpc_method="Generate",rpc_grpc_status_code="${code}"}`,
    );
  const [embedsBefore, tokensBefore] = [await embeds(), await tokens()];
  const generated = { ok: await generations('OK'), left: await generations('CANCELLED') };
  const good = [{ data: files.png }];
  for (const images of [good, good, [{ data: Buffer.from('nothing') }], []]) {
    await chain.client.generateReport({ images }).catch(() => {});
  }
  t.is(await counted('OK'), before.ok + 2);
  t.is(await counted('INVALID_ARGUMENT'), before.bad + 2);
  t.is(await embeds(), embedsBefore + 3);
  t.is(await generations('OK'), generated.ok + 2);
  t.is(await generations('CANCELLED'), generated.left);
  t.is((await tokens()) - tokensBefore, 24);
  t.is(await readMetric(page, 'radscribe_in_flight'), 0);
  for (const { metrics } of Object.values(chain.ports)) {
    t.is(await readMetric(metrics, 'radscribe_release_info{'), 7);
  }
});

test.serial('one trace holds the whole of a request, over all processes', async (t) => {
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const client = new Client(`127.0.0.1:${chain.ports.gateway.grpc}`, credentials.createInsecure());
  const metadata = new RawMetadata();
  metadata.set('traceparent', `00-${traceId}-b7ad6b7169203331-01`);
  const { generateReport } = reportService;
  const request = Buffer.from(generateReport.requestSerialize({ images: [{ data: files.png }] }));
  await plainCall(client, generateReport.path, request, metadata);
  client.close();
  // A service sends its spans when it stops.
  await chain.cluster.stop();
  const spans = collector.spans.filter((span) => span.traceId === traceId);
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const lineage = (span: Span): string[] => {
    const parent = byId.get(span.parentSpanId ?? '');
    return [...(parent ? lineage(parent) : []), `${span.service} ${span.name}`];
  };
  const lines = spans.map((span) => lineage(span).join(' > ').replaceAll('radscribe.v1.', ''));
  const root = 'gateway ReportService/GenerateReport';
  for (const [service, method, parts] of [
    ['vision', 'VisionService/Embed', ['decode', 'preprocess', 'queue', 'inference']],
    ['labeler', 'LabelerService/Classify', ['queue', 'inference']],
    ['generator', 'GeneratorService/Generate', ['queue', 'prefill', 'generate']],
  ] as const) {
    const server = `${root} > gateway ${method} > ${service} ${method}`;
    t.true(lines.includes(server), lines.join('\n'));
    for (const part of parts)
      t.true(
        lines.includes(`${server} > ${service} ${part}`),
        `${server} > ${part}\n${lines.join('\n')}`,
      );
  }
  const linked = collector.spans.filter(({ links }) =>
    links?.some((link) => link.traceId === traceId),
  );
  t.true(linked.length > 0, 'batch spans are linked to the request');
});
