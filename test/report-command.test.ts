import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { openStore } from '../lib/releases/store/open.ts';
import { writeRandomRelease } from './support/release.ts';
import { startGateway, startStages } from './support/stages.ts';

const sample = fileURLToPath(new URL('../cli/start/sample.png', import.meta.url));

function run(script: string, args: readonly string[]) {
  const path = fileURLToPath(new URL(`../${script}`, import.meta.url));
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [path, ...args], (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

const radscribe = (...args: readonly string[]) => run('cli/main.ts', ['report', ...args]);

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(path, { recursive: true }));
  return path;
}

async function serve(t: ExecutionContext): Promise<string> {
  const place = await folder(t);
  const store = openStore(join(place, 'store'));
  await writeRandomRelease(join(place, 'one'), 'vit-label');
  const { id } = await store.publish(join(place, 'one'));
  await store.promote('stable', id);
  const fake = await startStages(t, [id]);
  const { gateway } = await startGateway(t, fake, { STORE: join(place, 'store') });
  return `127.0.0.1:${gateway.port}`;
}

test('pictures and folders are sent, and every study is a line of JSON or a paragraph', async (t) => {
  const address = await serve(t);
  const place = await folder(t);
  await mkdir(join(place, 'deep'));
  const png = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  for (const name of ['b.png', 'a', 'deep/c.png']) await writeFile(join(place, name), png);
  await writeFile(join(place, 'notes.txt'), 'no picture');
  const bad = join(await folder(t), 'bad.jpg');
  await writeFile(bad, 'bad');

  const json = await radscribe('--address', address, '--json', place);
  t.is(json.code, 0, json.stderr);
  const lines = json.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { files: string[] });
  const sent = lines.map(({ files }) => files.join()).sort();
  t.deepEqual(
    sent,
    ['a', 'b.png', 'deep/c.png'].map((name) => join(place, name)),
  );
  t.like(lines[0], {
    impression: 'Cardiomegaly.',
    labels: { Cardiomegaly: { positive: true }, Edema: { positive: false } },
  });

  const study = await radscribe('--address', address, '--json', '--study', place);
  t.is(study.stdout.trim().split('\n').length, 1);

  const text = await radscribe('--address', address, sample, bad);
  t.is(text.code, 1);
  t.true(text.stdout.includes('  findings: The heart is large.\n  impression: Cardiomegaly.\n'));
  t.true(text.stdout.includes('bad.jpg\n  failed: images[0].data: 3 bytes of an unknown format'));
});

test('the example client prints the report as it is written', async (t) => {
  const address = await serve(t);
  const { code, stdout, stderr } = await run('docs/clients/typescript/client.ts', [
    address,
    sample,
  ]);
  t.is(code, 0, stderr);
  t.true(stdout.startsWith('Cardiomegaly 0.90\nFINDINGS: The heart is large.'), stdout);
});

test('without a gateway, a file or a picture there is one clear line and a code above 0', async (t) => {
  const nobody = await radscribe('--address', '127.0.0.1:1', sample);
  t.is(nobody.code, 1);
  t.regex(nobody.stderr, /^radscribe: no gateway answers at 127\.0\.0\.1:1: start one[^\n]*\n$/);
  const missing = await radscribe('nowhere.png');
  t.is(missing.code, 2);
  t.is(missing.stderr, 'radscribe: nowhere.png: no such file\n');
  const empty = await radscribe(await folder(t));
  t.is(empty.code, 2);
  t.regex(empty.stderr, /holds no JPEG, PNG, TIFF or DICOM file\n$/);
});
