import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import test from 'ava';
import { rows } from '../deploy/monitoring/dashboard.ts';
import { groups } from '../deploy/monitoring/rules.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { reportService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';
import { Cleanup, makeStore, pictureFiles, startChain, startCollector } from './support/cluster.ts';
import { findProgram } from './support/manifests.ts';
import { freePorts } from './support/ports.ts';
import { getPage, isUp, patienceMs, until } from './support/waiting.ts';

const prometheus = findProgram('prometheus');
const withPrometheus = prometheus ? test.serial : test.serial.skip;
const rules = fileURLToPath(new URL('../deploy/monitoring/rules.yaml', import.meta.url));

const watchdog = fileURLToPath(new URL('support/watchdog.ts', import.meta.url));

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
interface Groups {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly name: string;
      readonly health: string;
      readonly lastError?: string;
      readonly state?: string;
    }[];
  }[];
}
interface Exemplars {
  readonly seriesLabels: Readonly<Record<string, string>>;
  readonly exemplars: readonly { readonly labels: Readonly<Record<string, string>> }[];
}

async function ask<Result>(url: string): Promise<Result> {
  const response = await getPage(url);
  const { status, error, data } = (await response.json()) as Answer<Result>;
  if (status !== 'success') throw new Error(`${url}: ${error}`);
  return data;
}

/**
 * What `look` finds once it is enough, or after `patienceMs`. On a busy machine scrapes come
 * late or time out, and a rate needs two that see its counter grow: `meanwhile` goes on with the load.
 */
async function eventually<Found>(
  look: () => Promise<Found>,
  isEnough: (found: Found) => boolean,
  meanwhile: () => Promise<void> = async () => {},
): Promise<Found> {
  for (const until = Date.now() + patienceMs; ; await sleep(500)) {
    const found = await look();
    if (isEnough(found) || Date.now() > until) return found;
    await meanwhile();
  }
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
    process.execPath,
    [
      watchdog,
      prometheus ?? '',
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
      '--log.level=error',
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] },
  );
  cleanup.add(() => stop(child));
  const url = `http://127.0.0.1:${port}`;
  await until(() => isUp(`${url}/-/ready`), 'Prometheus is ready');
  const query = async (expr: string) =>
    (await ask<Vector>(`${url}/api/v1/query?query=${encodeURIComponent(expr)}`)).result;
  return { url, query };
}

withPrometheus(
  'a Prometheus that scrapes the cluster has data for every recorded rule and every panel, and its exemplars are traces',
  async (t) => {
    const startedAt = Date.now() / 1000;
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
    // A caller that traces nothing: the traces begin at the gateway.
    const telemetry = createTelemetry({ service: 'client', logLevel: 'silent' });
    const timeoutMs = patienceMs;
    const channel = openChannel(`127.0.0.1:${ports.gateway.grpc}`, { telemetry, timeoutMs });
    cleanup.add(() => channel.close());
    const client = channel.client(reportService);
    const { url, query } = await startPrometheus(
      Object.fromEntries(Object.entries(ports).map(([name, { metrics }]) => [name, metrics])),
    );
    const request = { images: [{ data: picture.png }], includeLabels: true };
    const getTwo = async () => {
      await client.generateReport(request);
      for await (const { report } of client.streamReport(request)) if (report) return;
    };
    const load = async () => void (await Promise.all([getTwo(), getTwo(), getTwo()]));
    const filled = (expr: string) =>
      eventually(
        () => query(expr),
        (found) => found.length > 0,
        load,
      );

    const up = { gateway: '1', generator: '1', labeler: '1', vision: '1' };
    const states = async () => {
      const found = await query('up');
      return Object.fromEntries(found.map(({ metric, value }) => [metric['job'], value[1]]));
    };
    const areUp = () => eventually(states, (found) => isDeepStrictEqual(found, up));
    t.deepEqual(await areUp(), up);
    // Rates need the counters to be there, and then to grow between two scrapes.
    for (let second = 0; second < 6; second += 1) {
      await load();
      await sleep(700);
    }
    const recorded = groups.flatMap(({ rules }) => rules.flatMap(({ record }) => record ?? []));
    for (const record of recorded) t.true((await filled(record)).length > 0, `${record} is empty`);
    for (const { title, queries, needs } of Object.values(rows).flat())
      for (const [, expr] of queries) {
        const now = expr.replaceAll('$namespace', '.*').replaceAll('$__rate_interval', '1m');
        if (needs) await query(now);
        else t.true((await filled(now)).length > 0, `${title} is empty: ${now}`);
      }
    const evaluated = await eventually(
      async () => (await ask<Groups>(`${url}/api/v1/rules`)).groups.flatMap(({ rules }) => rules),
      (found) => found.every(({ health }) => health !== 'unknown'),
    );
    for (const { name, health, lastError, state: is } of evaluated) {
      t.is(health, 'ok', `${name}: ${lastError}`);
      t.not(is, 'firing', name);
    }

    t.deepEqual(await areUp(), up);
    // The load is over: what it left is scraped, and exported, soon.
    const named = encodeURIComponent('rpc_server_call_duration_seconds_bucket{job="gateway"}');
    const traces = () => new Set<string | undefined>(collector.spans.map(({ traceId }) => traceId));
    const ids = await eventually(
      async () => {
        const range = `start=${startedAt}&end=${Date.now() / 1000}`;
        const found = await ask<Exemplars[]>(
          `${url}/api/v1/query_exemplars?query=${named}&${range}`,
        );
        return found.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels['trace_id']));
      },
      (found) => found.length > 0 && found.every((id) => traces().has(id)),
    );
    t.true(ids.length > 0, 'no exemplar');
    for (const id of ids) t.true(traces().has(id), `${id} is no trace that was collected`);
  },
);
