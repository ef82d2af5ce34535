import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { generatorService, visionService } from '../lib/rpc/services.ts';
import { tensorMessage } from '../lib/rpc/tensors.ts';
import { folderOf } from './support/releases.ts';
import { freePorts } from './support/ports.ts';
import { connect, openTestStore, until } from './support/services.ts';
import { isUp, patienceMs } from './support/waiting.ts';

/** A service as a process of its own, as it is deployed. */
function run(t: ExecutionContext, name: string, env: Record<string, string>, args: string[] = []) {
  const main = fileURLToPath(new URL(`../services/${name}/main.ts`, import.meta.url));
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, RADSCRIBE_PORT: '0', RADSCRIBE_METRICS_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const output = { out: '', err: '' };
  child.stdout!.on('data', (data: Buffer) => (output.out += data.toString()));
  child.stderr!.on('data', (data: Buffer) => (output.err += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return { child, output, ended };
}

const lines = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** Waits for the line that names the ports, and for a loaded release. */
async function listening(output: { readonly err: string }) {
  const found = () => lines(output.err).find(({ msg }) => msg === 'listening');
  await until(() => found() !== undefined);
  const { port, metricsPort } = found() as { port: number; metricsPort: number };
  await until(() => isUp(`http://127.0.0.1:${metricsPort}/readyz`));
  return port;
}

async function store(t: ExecutionContext) {
  const { store, folder, publish } = await openTestStore(t);
  const release = await publish('vit-label');
  await store.promote('stable', release);
  const env = { RADSCRIBE_STORE: folder, RADSCRIBE_THREADS: '1' };
  return { release, env };
}

for (const name of ['vision', 'labeler', 'generator']) {
  test(`${name} prints its settings on --help`, async (t) => {
    const { output, ended } = run(t, name, {}, ['--help']);
    t.is(await ended, 0);
    t.regex(output.out, /RADSCRIBE_STORE +releases/);
    t.regex(output.out, /RADSCRIBE_QUEUE_LIMIT +64/);
  });
}

test('a setting that is wrong is one line, and no service', async (t) => {
  const { output, ended } = run(t, 'vision', { RADSCRIBE_MAX_BATCH: 'many' });
  t.is(await ended, 1);
  t.regex(output.err, /^vision: RADSCRIBE_MAX_BATCH: is "many"; expected an integer[^\n]*\n$/);
});

test('SIGTERM lets a stream end, and the process ends with 0', async (t) => {
  const { release, env } = await store(t);
  const { child, output, ended } = run(t, 'generator', {
    ...env,
    RADSCRIBE_GRACE_MS: `${patienceMs}`,
  });
  const client = connect(t, await listening(output), generatorService);
  const tokens = tensorMessage([16, 96], new Float32Array(16 * 96));
  const decoding = {
    strategy: 'DECODING_STRATEGY_SAMPLE' as const,
    temperature: 2,
    minTokens: 190,
    maxTokens: 190,
  };
  let text = '';
  let whole = '-';
  for await (const { delta, result } of client.generate({
    release,
    tokens,
    decoding,
    stream: true,
  })) {
    if (delta && text === '') child.kill('SIGTERM');
    text += delta?.text ?? '';
    whole = result?.text ?? whole;
  }
  t.is(text, whole);
  t.is(await ended, 0);
  const log = lines(output.err).map(({ msg }) => msg);
  t.deepEqual(log.slice(-2), ['draining', 'release dropped']);
});

test('ONNX Runtime writes nothing into the home of the user, and nothing beside our logs', async (t) => {
  const { env } = await store(t);
  const home = await folderOf(t);
  // It is silent by itself where CI is set.
  const given = { ...env, HOME: home, XDG_CACHE_HOME: join(home, 'cache'), CI: '' };
  const { output } = run(t, 'labeler', given);
  await listening(output);
  t.deepEqual(await readdir(home), []);
  t.deepEqual(
    output.err.split('\n').filter((line) => line !== '' && !line.startsWith('{')),
    [],
  );
});

test('a killed process loses its calls alone: the client goes on with what takes its port', async (t) => {
  const { release, env } = await store(t);
  const [free = 0] = await freePorts(1);
  const first = run(t, 'vision', { ...env, RADSCRIBE_PORT: `${free}` });
  const port = await listening(first.output);
  const client = connect(t, port, visionService);
  const image = Buffer.from('no picture');
  const reason = async () => {
    const error = await t.throwsAsync(() => client.embed({ release, image }));
    return (error as { readonly reason?: string }).reason;
  };
  t.is(await reason(), 'IMAGE_FORMAT_UNSUPPORTED');
  await kill(first.child, first.ended);
  t.is(await reason(), 'RPC_UNAVAILABLE');
  const second = run(t, 'vision', { ...env, RADSCRIBE_PORT: `${port}` });
  await listening(second.output);
  await until(async () => (await reason()) === 'IMAGE_FORMAT_UNSUPPORTED');
  t.pass();
});

async function kill(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGKILL');
  await ended;
}

test('a port in use is one clear line', async (t) => {
  const { env } = await store(t);
  const first = run(t, 'labeler', env);
  const port = await listening(first.output);
  const second = run(t, 'labeler', { ...env, RADSCRIBE_PORT: `${port}` });
  t.is(await second.ended, 1);
  t.regex(second.output.err, new RegExp(`^labeler: 127.0.0.1:${port} is in use[^\n]*\n$`));
});

test('a metrics port in use is one clear line, and ends every service', async (t) => {
  const { env } = await store(t);
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const given = { ...env, RADSCRIBE_RUNS: await folderOf(t), RADSCRIBE_METRICS_PORT: `${port}` };
  for (const service of ['vision', 'gateway', 'trainer'] as const) {
    const { output, ended } = run(t, service, given);
    t.is(await ended, 1);
    t.regex(output.err, new RegExp(`^${service}: 127.0.0.1:${port} is in use[^\n]*\n$`));
  }
});
