import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { serviceNames } from '../cli/start/cluster.ts';
import { Cleanup, makeStore, testEnv } from './support/cluster.ts';
import { freePorts } from './support/ports.ts';
import { folderOf } from './support/releases.ts';
import { isUp, until } from './support/waiting.ts';

const cleanup = new Cleanup();
let store: Awaited<ReturnType<typeof makeStore>>;

test.before(async () => {
  store = await makeStore(cleanup, ['vit-label']);
});
test.after.always(() => cleanup.run());

const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

/** A process that runs a module and ends with the test. */
async function run(t: ExecutionContext, module: string): Promise<ChildProcess> {
  const script = join(await folderOf(t), 'script.mts');
  const watched = `import { endWithParent } from ${url('../lib/parent.ts')};\nendWithParent();\n`;
  await writeFile(script, watched + module);
  const child = fork(script);
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

const messageOf = async <Message>(child: ChildProcess): Promise<Message> => {
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`it ended first: ${code ?? signal}`);
  });
  const [message] = (await Promise.race([once(child, 'message'), ended])) as [Message];
  return message;
};

/** Whether a process runs: on Linux, one that nobody has waited for still has its id, and does not. */
async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const state = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  return !state.includes(') Z ');
}

const haveEnded = (pids: readonly number[]) =>
  until(async () => !(await Promise.all(pids.map(isRunning))).includes(true), 'the end of all');

test.serial('kill -9 of what started the cluster ends every service', async (t) => {
  const parent = await run(
    t,
    `import { Cleanup, startChain } from ${url('./support/cluster.ts')};
     const env = { RADSCRIBE_STORE: ${JSON.stringify(store.url)} };
     const { cluster } = await startChain(new Cleanup(), env);
     process.send(${JSON.stringify(serviceNames)}.map((name) => cluster.child(name).pid));`,
  );
  const pids = await messageOf<number[]>(parent);
  t.is(pids.length, 4);
  t.deepEqual(await Promise.all(pids.map(isRunning)), [true, true, true, true]);
  parent.kill('SIGKILL');
  await haveEnded(pids);
  t.pass();
});

test.serial('kill -9 of a process ends what its children have started, too', async (t) => {
  const grandchild = `import { endWithParent } from ${url('../lib/parent.ts')};
    endWithParent();
    process.send(process.pid);
    setInterval(() => {}, 1000);`;
  const file = join(await folderOf(t), 'grandchild.mts');
  await writeFile(file, grandchild);
  const parent = await run(
    t,
    `import { fork } from 'node:child_process';
     const start = (path, then) => fork(path).once('message', then);
     if (process.argv[2] === undefined)
       fork(import.meta.filename, ['child']).once('message', (pids) => process.send(pids));
     else start(${JSON.stringify(file)}, (pid) => process.send([process.pid, pid]));`,
  );
  const pids = await messageOf<number[]>(parent);
  parent.kill('SIGKILL');
  await haveEnded(pids);
  t.is(pids.length, 2);
});

test.serial(
  'a second Ctrl-C ends the cluster at once, while its services still drain',
  async (t) => {
    const [port = 0, ...others] = await freePorts(8);
    const metricsPort = others[3] ?? 0;
    const main = fileURLToPath(new URL('../cli/start/main.ts', import.meta.url));
    const args = ['--store', store.url, '--port', `${port}`, '--metrics-port', `${metricsPort}`];
    // The gateway would drain for longer than any test waits.
    const env = { ...testEnv, RADSCRIBE_DRAIN_DELAY_MS: '3600000' };
    const child = spawn(process.execPath, [main, ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    let printed = '';
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => (printed += text));
    await until(() => printed.includes('Ctrl-C ends it.') || child.exitCode !== null);
    const pages = [0, 1, 2, 3].map((index) => `http://127.0.0.1:${metricsPort + index}/healthz`);
    t.deepEqual(await Promise.all(pages.map(isUp)), [true, true, true, true], printed);
    const ended = once(child, 'exit');
    child.kill('SIGINT');
    await until(() => printed.includes('stopping\n'));
    child.kill('SIGINT');
    await ended;
    await until(async () => !(await Promise.all(pages.map(isUp))).includes(true));
    t.pass();
  },
);
