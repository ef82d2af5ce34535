import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Cleanup, makeStore, pictureFiles, startChain } from '../test/support/cluster.ts';

/**
 * `node docs/walks.ts`: counts the files whose functions run, and the async generators that a text
 * delta may pass, while a running chain answers one StreamReport with one PNG. Every thread of every
 * service is watched; what runs once at the start is not counted, since two requests went before.
 */
interface Ran {
  readonly url: string;
  readonly functionName: string;
  readonly start: number;
}

const root = new URL('..', import.meta.url).href;
const cleanup = new Cleanup();

/** What ran in each service since the last call. */
async function take(folder: string, number: number): Promise<ReadonlyMap<string, readonly Ran[]>> {
  await writeFile(path.join(folder, `take-${number}`), '');
  // The threads look every 20 ms; a thread that is busy for longer than this does not answer a request.
  await sleep(2000);
  const found = new Map<string, Ran[]>();
  for (const name of await readdir(folder)) {
    if (!name.startsWith(`${number}-`)) continue;
    const service = name.split('-')[1]!;
    const ran = JSON.parse(await readFile(path.join(folder, name), 'utf8')) as Ran[];
    const ours = ran.filter(({ url }) => url.startsWith(root) && !url.includes('node_modules'));
    const named = ours.filter(
      ({ functionName, url }) => functionName !== '' && !/docs\/walks/.test(url),
    );
    found.set(service, [...(found.get(service) ?? []), ...named]);
  }
  return found;
}

const fileOf = ({ url }: Ran): string => url.slice(root.length);

async function isAsyncGenerator({ url, start }: Ran): Promise<boolean> {
  const source = await readFile(fileURLToPath(url), 'utf8');
  return /^(?:(?:static )?async ?\*|async function ?\*)/.test(source.slice(start, start + 40));
}

async function main(): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'radscribe-walks-'));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  await mkdir(folder, { recursive: true });
  const { url } = await makeStore(cleanup, ['vit-label']);
  const probe = new URL('walks-probe.ts', import.meta.url).href;
  const { client } = await startChain(cleanup, {
    RADSCRIBE_STORE: url,
    RADSCRIBE_WALKS: folder,
    RADSCRIBE_STORE_POLL_MS: '3600000',
    NODE_OPTIONS: `--import=${probe}`,
  });
  const { png } = await pictureFiles();
  const report = async (): Promise<void> => {
    const stream = client.streamReport({ images: [{ data: png }], includeLabels: true });
    for await (const _ of stream) continue;
  };
  await report();
  await report();
  await take(folder, 0);
  await report();
  const ran = await take(folder, 1);
  const all = new Set<string>();
  for (const [service, functions] of ran) {
    const files = new Set(functions.map(fileOf));
    for (const file of files) all.add(file);
    console.log(`${service}: ${files.size} files\n  ${[...files].sort().join('\n  ')}`);
    const generators = new Set<string>();
    for (const one of functions) {
      if (await isAsyncGenerator(one)) generators.add(`${fileOf(one)} ${one.functionName}`);
    }
    if (generators.size > 0) console.log(`  async generators: ${[...generators].join(', ')}`);
  }
  console.log(`one image, one streamed report: ${all.size} files`);
}

try {
  await main();
} finally {
  await cleanup.run();
}
