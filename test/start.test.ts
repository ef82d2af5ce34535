import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { GenerateReportResponse } from '../lib/rpc/messages.ts';
import { printReport, wrap } from '../cli/start/print.ts';
import { Cleanup, makeStore } from './support/cluster.ts';
import { freePorts } from './support/ports.ts';

const cleanup = new Cleanup();
let store: Awaited<ReturnType<typeof makeStore>>;

test.before(async () => {
  store = await makeStore(cleanup, ['vit-label']);
});
test.after.always(() => cleanup.run());

/** `npm start -- ...`, and what it printed until it ended. `onText` sees all of it at every change. */
function start(
  args: readonly string[],
  onText: (text: string, stop: () => void) => void = () => {},
) {
  const main = fileURLToPath(new URL('../cli/start/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout!.on('data', (part: Buffer) => {
    stdout += part.toString();
    onText(stdout, () => child.kill('SIGINT'));
  });
  child.stderr!.on('data', (part: Buffer) => (stderr += part.toString()));
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** The arguments for eight ports in a row. */
async function portArguments(): Promise<readonly string[]> {
  const [first = 0] = await freePorts(8);
  return ['--port', `${first}`, '--metrics-port', `${first + 4}`];
}

test.serial('the whole cluster starts, writes a first report and ends', async (t) => {
  const { code, stdout, stderr } = await start([
    '--once',
    '--store',
    store.url,
    ...(await portArguments()),
  ]);
  t.is(code, 0, stderr);
  for (const part of [
    'starting vision, labeler, generator, gateway\n',
    /ready after [\d.]+ s\n/,
    `Labels by vit-label, release ${store.ids.get('vit-label')}\n`,
    /\n {2}Pleural Effusion +[01]\.\d\d {2}/,
    /\nTimeline in ms; 12 tokens written\n {2}gateway +[\d.]+ .*\n {2}vision +[\d.]+ /,
    /\n {2}generator +[\d.]+ /,
  ]) {
    t.true(typeof part === 'string' ? stdout.includes(part) : part.test(stdout), stdout);
  }
  t.is(stderr, '');
});

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip;

onLinux('a service that dies is started again, and Ctrl-C ends all with 0', async (t) => {
  const ports = await portArguments();
  let killed = false;
  let stopped = false;
  const { code, stdout } = await start(['--store', store.url, ...ports], (text, stop) => {
    if (!killed && text.includes('Ctrl-C ends it.')) {
      killed = true;
      const first = Number(ports[1]);
      t.regex(text, new RegExp(`grpcurl -plaintext 127.0.0.1:${first} list`));
      // Whoever listens on the labeler's port is the labeler.
      void killListener(first + 2);
    }
    if (!stopped && /labeler died \(SIGKILL.*\) and is started again/.test(text)) {
      stopped = true;
      stop();
    }
  });
  t.true(stopped, stdout);
  t.is(code, 0);
  t.regex(stdout, /stopping\n$/);
});

/** The process that has this port in its settings, as Linux tells it. */
async function killListener(port: number): Promise<void> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    if (environment.includes(`RADSCRIBE_PORT=${port}\0`)) process.kill(Number(pid), 'SIGKILL');
  }
}

test.serial(
  'a missing picture, an empty store and a port in use are one clear line each',
  async (t) => {
    const line = async (args: readonly string[]): Promise<string> => {
      const { code, stderr } = await start(['--once', ...args]);
      t.is(code, 1);
      return stderr;
    };
    t.is(await line(['--image', 'nowhere.png']), 'start: nowhere.png: no such file\n');
    t.regex(await line(['--store', `${store.url}-absent`]), /^start: no release: [^\n]+\n$/);
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as AddressInfo;
    const inUse = await line(['--store', store.url, '--port', `${port}`]);
    t.regex(inUse, new RegExp(`^start: gateway: 127.0.0.1:${port} is in use[^\n]+\n$`));
    taken.close();
  },
);

test('a report is printed with its labels, sections, warnings and timeline', (t) => {
  const response: GenerateReportResponse = {
    requestId: 'r',
    report: { findings: 'The heart is large.', impression: 'Cardiomegaly.' },
    labels: [
      { name: 'Cardiomegaly', probability: 0.9, threshold: 0.5, state: 'LABEL_STATE_POSITIVE' },
      { name: 'Edema', probability: 0, threshold: 0.25, state: 'LABEL_STATE_NEGATIVE' },
    ],
    release: 'rs-1',
    variant: 'vit-label',
    imageIndex: 0,
    images: [],
    warnings: [{ code: 'VIEW_NOT_PA', field: 'images[0]', message: 'AP view given' }],
    timings: [
      { stage: 'vision', startMs: 0, durationMs: 40 },
      { stage: 'vision.inference', startMs: 10, durationMs: 20 },
      { stage: 'generator', startMs: 40, durationMs: 60 },
    ],
    tokens: { image: 16, text: 3, generated: 9 },
    finishReason: 'FINISH_REASON_END',
    meanLogProbability: -0.1,
  };
  t.snapshot(printReport(response));
});

test('long text is wrapped between words', (t) => {
  const lines = wrap('word '.repeat(60).trim()).trimEnd().split('\n');
  t.true(lines.length > 1);
  t.true(lines.every((line) => line.length <= 88 && line.startsWith('  word')));
});
