import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig, type V1Job } from '@kubernetes/client-node';
import test, { type ExecutionContext } from 'ava';
import { parseConfig } from '../lib/training/config.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { jobName, jobOf, kubernetesExecutor } from '../services/trainer/runs/kubernetes.ts';
import { Runner } from '../services/trainer/runs/runner.ts';

const job = {
  image: 'registry.example/radscribe-model@sha256:0',
  namespace: 'radscribe',
  serviceAccount: 'training-run',
  queue: '',
  gpus: 1,
  claims: ['runs:/var/lib/radscribe/runs'],
  runs: '/var/lib/radscribe/runs',
  cache: '/var/lib/radscribe/runs/cache',
  gate: ['clinical.microF1', 'language.bleu4'],
};

/** An API server that knows Jobs, as much of it as the trainer may use. */
async function fakeApiServer(t: ExecutionContext, onCreated: (job: V1Job) => void = () => {}) {
  const jobs = new Map<string, V1Job>();
  const calls: string[] = [];
  const body = async (request: IncomingMessage): Promise<V1Job> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    return JSON.parse(Buffer.concat(chunks).toString()) as V1Job;
  };
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname } = new URL(request.url ?? '', 'http://x');
    const name = /^\/apis\/batch\/v1\/namespaces\/radscribe\/jobs\/?(.*)$/.exec(pathname)?.[1];
    calls.push(`${request.method} ${name}`);
    const answer = (code: number, value: unknown): void => {
      response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    if (request.method === 'POST') {
      const made = await body(request);
      const known = jobs.has(made.metadata?.name ?? '');
      if (!known) jobs.set(made.metadata?.name ?? '', made);
      answer(known ? 409 : 201, made);
      if (!known) onCreated(made);
    } else if (name !== undefined && jobs.has(name)) {
      if (request.method === 'DELETE') jobs.delete(name);
      answer(200, jobs.get(name) ?? {});
    } else answer(404, { kind: 'Status', code: 404 });
  };
  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const config = new KubeConfig();
  const { port } = server.address() as AddressInfo;
  config.loadFromOptions({
    clusters: [{ name: 'fake', server: `http://127.0.0.1:${port}`, skipTLSVerify: true }],
    users: [{ name: 'trainer', token: 'secret' }],
    contexts: [{ name: 'fake', cluster: 'fake', user: 'trainer' }],
    currentContext: 'fake',
  });
  return { config, jobs, calls };
}

async function runs(t: ExecutionContext): Promise<RunDatabase> {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-jobs-'));
  const database = new RunDatabase(folder);
  t.teardown(async () => {
    database.close();
    await rm(folder, { recursive: true, force: true });
  });
  return database;
}

const config = parseConfig({ variant: 'vit', data: 'phantom:10' });
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((done) => setTimeout(done, 20));
};

test('a Job requests its GPU, has no token, trains its own run and ends with it', async (t) => {
  const run = (await runs(t)).create({ config });
  const made = jobOf(run, { ...job, queue: 'radscribe-training' });
  const pod = made.spec?.template.spec;
  t.is(made.metadata?.labels?.['kueue.x-k8s.io/queue-name'], 'radscribe-training');
  t.true(made.spec?.suspend, 'Kueue admits it');
  t.false(pod?.automountServiceAccountToken);
  t.is(pod?.containers[0]?.resources?.limits?.['nvidia.com/gpu'], '1');
  const [container] = pod?.containers ?? [];
  t.is(
    container?.args?.join(' '),
    `lib/training/main.ts ${run.id} --runs ${job.runs} --cache ${job.cache} --gate clinical.microF1,language.bleu4`,
  );
  const [failed] = made.spec?.podFailurePolicy?.rules ?? [];
  t.is(failed?.action, 'FailJob', 'a run that has failed is not trained by another pod');
  t.deepEqual(failed?.onExitCodes?.values, [3]);
  t.is(failed?.onExitCodes?.containerName, container?.name);
  t.not(jobName(run), jobName({ ...run, resumes: 1 }), 'the Job that failed still has its name');
  t.deepEqual(pod?.volumes?.[0]?.persistentVolumeClaim, { claimName: 'runs' });
  t.throws(() => jobOf(run, { ...job, claims: ['runs'] }), { message: /expected CLAIM:\/FOLDER/ });
});

test('a run becomes a Job, is followed to its end and not made twice', async (t) => {
  const database = await runs(t);
  const run = database.create({ config });
  const api = await fakeApiServer(t, (made) => {
    // What the pod does, seen from here: it trains, then its Job is complete.
    setTimeout(() => {
      database.setState(run.id, 'succeeded', { release: 'rs-0' });
      made.status = { conditions: [{ type: 'Complete', status: 'True' }] };
    }, 60);
  });
  const executor = kubernetesExecutor({
    ...job,
    config: api.config,
    pollMs: 20,
    isCancelled: () => false,
    onError: (_, error) => t.fail(String(error)),
  });
  await Promise.all([
    executor.execute(run, new AbortController().signal),
    executor.execute(run, new AbortController().signal),
  ]);
  t.deepEqual([...api.jobs.keys()], [jobName(run)]);
  t.is(database.get(run.id).state, 'succeeded');
});

test('a run that is cancelled loses its Job, and one whose Job died for good has failed', async (t) => {
  const database = await runs(t);
  const api = await fakeApiServer(t, (made) => {
    if (made.metadata?.labels?.['radscribe.dev/run'] !== doomed.id) return;
    made.status = { conditions: [{ type: 'Failed', status: 'True' }] };
  });
  const [cancelled, doomed] = [database.create({ config }), database.create({ config })];
  const errors: unknown[] = [];
  const executor = kubernetesExecutor({
    ...job,
    config: api.config,
    pollMs: 20,
    isCancelled: (id) => database.get(id).cancelRequested,
    onError: (_, error) => errors.push(error),
  });
  const runner = new Runner({
    database,
    executor,
    maxRuns: 2,
    pollMs: 20,
    onError: (_, error) => errors.push(error),
  });
  t.teardown(() => runner.close());
  runner.start();
  await until(() => api.jobs.has(jobName(cancelled)));
  const lease = database.lease(cancelled.id);
  database.setState(cancelled.id, 'running');
  database.requestCancel(cancelled.id);
  // The pod ends with its Job, and with it the lease.
  await until(() => !api.jobs.has(jobName(cancelled)));
  lease.release();
  await until(() => database.get(cancelled.id).state === 'cancelled');
  t.true(api.calls.includes(`DELETE ${jobName(cancelled)}`));
  await until(() => database.get(doomed.id).state === 'failed');
  t.is(database.get(doomed.id).error?.reason, 'TRAINER_CRASHED');
  t.deepEqual(errors, []);
});
