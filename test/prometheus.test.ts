import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace';
import test from 'ava';
import { rows } from '../deploy/monitoring/dashboard.ts';
import { groups } from '../deploy/monitoring/rules.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { reportService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import {
  Cleanup,
  freePorts,
  makeStore,
  pictureFiles,
  startChain,
  startCollector,
} from './support/cluster.ts';
import { findProgram } from './support/manifests.ts';

const prometheus = findProgram('prometheus');
const withPrometheus = prometheus ? test.serial : test.serial.skip;
const rules = fileURLToPath(new URL('../deploy/monitoring/rules.yaml', import.meta.url));

const cleanup = new Cleanup();
test.after.always(() => cleanup.run());

interface Answer<Result> {
  readonly status: string;
  readonly error?: string;
  readonly data: Result;
}
interface Vector {
  readonly result: readonly {
    readonly metric: Readonly<Record<string, string>>;
    readonly value: readonly [number, string];
  }[];
}
interface Exemplars {
  readonly seriesLabels: Readonly<Record<string, string>>;
  readonly exemplars: readonly { readonly labels: Readonly<Record<string, string>> }[];
}

async function ask<Result>(url: string): Promise<Result> {
  const response = await fetch(url);
  const { status, error, data } = (await response.json()) as Answer<Result>;
  if (status !== 'success') throw new Error(`${url}: ${error}`);
  return data;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill();
  await ended;
}

/** Scrapes every second, and names the jobs as the ServiceMonitor does: by the service. */
async function startPrometheus(targets: Readonly<Record<string, number>>) {
  const folder = await mkdtemp(path.join(tmpdir(), 'radscribe-prometheus-'));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    scrape_configs: Object.entries(targets).map(([job, port]) => ({
      job_name: job,
      static_configs: [{ targets: [`127.0.0.1:${port}`] }],
    })),
  };
  const file = path.join(folder, 'prometheus.json');
  await writeFile(file, JSON.stringify(config));
  const [port = 0] = await freePorts(1);
  const child = spawn(
    prometheus ?? '',
    [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
      '--log.level=error',
    ],
    { stdio: 'ignore' },
  );
  cleanup.add(() => stop(child));
  const url = `http://127.0.0.1:${port}`;
  const isReady = () =>
    fetch(`${url}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  for (const until = Date.now() + 20_000; !(await isReady()); await sleep(100))
    if (Date.now() > until) throw new Error('Prometheus does not get ready');
  const query = async (expr: string) =>
    (await ask<Vector>(`${url}/api/v1/query?query=${encodeURIComponent(expr)}`)).result;
  return { url, query };
}

withPrometheus(
  'a Prometheus that scrapes the cluster has data for every recorded rule and every panel, and its exemplars are traces',
  async (t) => {
    t.timeout(180_000);
    const [store, collector, picture] = await Promise.all([
      makeStore(cleanup, ['vit-label']),
      startCollector(cleanup),
      pictureFiles(),
    ]);
    const { ports } = await startChain(cleanup, {
      RADSCRIBE_STORE: store.url,
      RADSCRIBE_CHANNELS: 'stable',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_BSP_SCHEDULE_DELAY: '200',
    });
    // A caller that samples its own traces: a service follows what its caller says.
    const exporter = new InMemorySpanExporter();
    const telemetry = createTelemetry({ service: 'client', logLevel: 'silent', exporter });
    const channel = openChannel(`127.0.0.1:${ports.gateway.grpc}`, { telemetry });
    cleanup.add(() => channel.close());
    const client = channel.client(reportService);
    const { url, query } = await startPrometheus(
      Object.fromEntries(Object.entries(ports).map(([name, { metrics }]) => [name, metrics])),
    );
    const request = { images: [{ data: picture.png }], includeLabels: true };
    const load = async () => {
      await client.generateReport(request);
      for await (const { report } of client.streamReport(request)) if (report) return;
    };
    // Rates need the counters to be there, and then to grow between two scrapes.
    for (let second = 0; second < 6; second += 1) {
      await Promise.all([load(), load(), load()]);
      await sleep(700);
    }
    await sleep(2000);

    const up = await query('up');
    const states = Object.fromEntries(up.map(({ metric, value }) => [metric['job'], value[1]]));
    t.deepEqual(states, { gateway: '1', generator: '1', labeler: '1', vision: '1' });
    const recorded = groups.flatMap(({ rules }) => rules.flatMap(({ record }) => record ?? []));
    for (const record of recorded) t.true((await query(record)).length > 0, `${record} is empty`);
    for (const { title, queries, needs } of Object.values(rows).flat())
      for (const [, expr] of queries) {
        const now = expr.replaceAll('$namespace', '.*').replaceAll('$__rate_interval', '1m');
        const found = await query(now);
        if (!needs) t.true(found.length > 0, `${title} is empty: ${now}`);
      }
    const state = await ask<{
      groups: { rules: { name: string; health: string; lastError?: string; state?: string }[] }[];
    }>(`${url}/api/v1/rules`);
    for (const { name, health, lastError, state: is } of state.groups.flatMap(
      ({ rules }) => rules,
    )) {
      t.is(health, 'ok', `${name}: ${lastError}`);
      t.not(is, 'firing', name);
    }

    const traces = new Set(collector.spans.map(({ traceId }) => traceId));
    const end = Date.now() / 1000;
    const named = 'rpc_server_call_duration_seconds_bucket{job="gateway"}';
    const exemplars = await ask<Exemplars[]>(
      `${url}/api/v1/query_exemplars?query=${encodeURIComponent(named)}&start=${end - 120}&end=${end}`,
    );
    const ids = exemplars.flatMap(({ exemplars: own }) =>
      own.map(({ labels }) => labels['trace_id']),
    );
    t.true(ids.length > 0, 'no exemplar');
    for (const id of ids) t.true(traces.has(id ?? ''), `${id} is no trace that was collected`);
  },
);
