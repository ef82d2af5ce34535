import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Manifest } from './manifests.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Where the published types of an API group live, by its name's ending. */
const packages: readonly (readonly [string, string])[] = [
  ['monitoring.coreos.com', '@kubernetes-models/prometheus-operator'],
  ['keda.sh', '@kubernetes-models/keda'],
  ['cert-manager.io', '@kubernetes-models/cert-manager'],
];

/**
 * Compiles every document against the published types of its kind: unknown fields, wrong types and
 * missing fields come back as one line each. One run of the compiler for all, since it takes seconds.
 */
export async function typeProblems(manifests: readonly Manifest[]): Promise<string[]> {
  const parent = path.join(root, 'node_modules', '.cache');
  await mkdir(parent, { recursive: true });
  const folder = await mkdtemp(path.join(parent, 'manifests-'));
  try {
    const lines: string[] = [];
    const starts: { line: number; name: string }[] = [];
    manifests.forEach((manifest, index) => {
      starts.push({ line: lines.length + 1, name: `${manifest.kind} ${manifest.metadata.name}` });
      lines.push(`import type { I${manifest.kind} as T${index} } from '${moduleOf(manifest)}';`);
      lines.push(
        ...`export const m${index}: T${index} = ${JSON.stringify(manifest, null, 1)};`.split('\n'),
      );
    });
    await writeFile(path.join(folder, 'documents.ts'), `${lines.join('\n')}\n`);
    const compilerOptions = {
      target: 'esnext',
      module: 'nodenext',
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: [],
    };
    await writeFile(
      path.join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: ['documents.ts'] }),
    );
    const output = await compile(folder);
    return [...output.matchAll(/documents\.ts\((\d+),\d+\): error (TS\d+: .*)$/gm)].map(
      ([, line, message]) => {
        const { name } = starts.findLast((start) => start.line <= Number(line)) ?? { name: '' };
        return `${name}: ${message}`;
      },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function moduleOf({ apiVersion }: Manifest): string {
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const from = packages.find(([name]) => group === name)?.[1] ?? 'kubernetes-models';
  return [from, group, version].filter(Boolean).join('/');
}

function compile(folder: string): Promise<string> {
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [tsc, '-p', folder, '--pretty', 'false'],
      (error, stdout, stderr) => {
        // The compiler answers 1 or 2 where it found something to say.
        if (error && stdout === '') reject(new Error(stderr, { cause: error }));
        else resolve(stdout);
      },
    );
  });
}
