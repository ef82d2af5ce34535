import { type OxlintOverride, defineConfig } from 'oxlint';

/**
 * Which module may import which: the one place that says so. The linter enforces it below, and
 * CONTRIBUTING.md shows it. `lib` alone is the files directly in lib/: errors, tensors, atomic writes.
 */
export const importTable: Readonly<Record<string, readonly string[]>> = {
  'lib/graph': [],
  lib: ['lib/graph'],
  'lib/onnx': ['lib/graph'],
  'lib/models': ['lib', 'lib/graph'],
  'lib/safetensors': ['lib', 'lib/graph'],
  'lib/checkpoints': ['lib', 'lib/graph', 'lib/models', 'lib/safetensors'],
  'lib/text': ['lib'],
  'lib/image': ['lib', 'lib/graph'],
  'lib/data': ['lib', 'lib/image', 'lib/text'],
  'lib/releases': [
    'lib',
    'lib/graph',
    'lib/onnx',
    'lib/models',
    'lib/safetensors',
    'lib/image',
    'lib/text',
  ],
  'lib/inference': ['lib', 'lib/graph', 'lib/models', 'lib/image', 'lib/text', 'lib/releases'],
  'lib/runtime': ['lib', 'lib/graph', 'lib/onnx', 'lib/models', 'lib/releases'],
  'lib/plan': ['lib', 'lib/models'],
  'lib/telemetry': ['lib', 'lib/runtime'],
  'lib/rpc': ['lib', 'lib/graph', 'lib/telemetry', 'lib/runtime', 'lib/releases'],
  'lib/service': ['lib', 'lib/rpc', 'lib/telemetry', 'lib/runtime', 'lib/releases'],
  'lib/training': [
    'lib',
    'lib/graph',
    'lib/onnx',
    'lib/models',
    'lib/safetensors',
    'lib/checkpoints',
    'lib/text',
    'lib/image',
    'lib/data',
    'lib/releases',
    'lib/inference',
    'lib/runtime',
    'lib/telemetry',
  ],
  'services/gateway': [
    'lib',
    'lib/inference',
    'lib/models',
    'lib/text',
    'lib/releases',
    'lib/rpc',
    'lib/service',
    'lib/telemetry',
  ],
  'services/vision': [
    'lib',
    'lib/graph',
    'lib/image',
    'lib/inference',
    'lib/releases',
    'lib/runtime',
    'lib/rpc',
    'lib/service',
    'lib/telemetry',
  ],
  'services/labeler': [
    'lib',
    'lib/graph',
    'lib/text',
    'lib/inference',
    'lib/releases',
    'lib/runtime',
    'lib/rpc',
    'lib/service',
    'lib/telemetry',
  ],
  'services/generator': [
    'lib',
    'lib/graph',
    'lib/text',
    'lib/inference',
    'lib/releases',
    'lib/runtime',
    'lib/rpc',
    'lib/service',
    'lib/telemetry',
  ],
  'services/trainer': [
    'lib',
    'lib/models',
    'lib/data',
    'lib/releases',
    'lib/training',
    'lib/rpc',
    'lib/service',
    'lib/telemetry',
  ],
  cli: [
    'lib',
    'lib/models',
    'lib/checkpoints',
    'lib/text',
    'lib/image',
    'lib/data',
    'lib/releases',
    'lib/plan',
    'lib/runtime',
    'lib/training',
    'lib/rpc',
    'lib/service',
    'lib/telemetry',
  ],
};

/** Folders beside lib that nothing in the table imports. */
const outside = ['services', 'cli', 'test', 'bench', 'deploy', 'docs', 'proto'];
const modules = Object.keys(importTable);

/** What of `module` reads its sources: `lib` alone stands for its own files, not for its folders. */
const filesOf = (module: string): string => (module === 'lib' ? 'lib/*.ts' : `${module}/**`);

function forbidden(module: string): { readonly regex: string; readonly message: string }[] {
  const allowed = importTable[module] ?? [];
  const isLib = module.startsWith('lib');
  const message = `${module} may import ${allowed.join(', ') || 'nothing of ours'} (oxlint.config.ts)`;
  const names = modules
    .filter((other) => other.startsWith('lib/') && other !== module && !allowed.includes(other))
    .map((other) => other.slice('lib/'.length));
  // Of a lib file `../rpc/x.ts` is lib/rpc; of others it is `../../lib/rpc/x.ts`.
  const up = module === 'lib' ? '\\./' : isLib ? '(\\.\\./)+' : '(\\.\\./)+lib/';
  const patterns = [
    { regex: `^${up}(${names.join('|')})/`, message },
    {
      regex: `^(\\.\\./)+(${outside.filter((name) => name !== module.split('/')[0]).join('|')})/`,
      message,
    },
  ];
  if (module.startsWith('services/')) {
    const others = modules.filter((other) => other.startsWith('services/') && other !== module);
    const services = others.map((other) => other.slice('services/'.length)).join('|');
    patterns.push({ regex: `^(\\.\\./)+(${services})/`, message });
  }
  if (module === 'lib/graph')
    patterns.push({ regex: '^[a-z@]', message: `${message}, no package` });
  return patterns;
}

export default defineConfig({
  plugins: ['typescript', 'import', 'unicorn', 'node', 'promise', 'oxc'],
  categories: { correctness: 'error', suspicious: 'error', perf: 'error' },
  rules: {
    'import/no-cycle': ['error', { ignoreTypes: false }],
    'import/no-unassigned-import': 'off',
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/consistent-type-imports': 'error',
    'typescript/no-explicit-any': 'error',
    'typescript/no-unsafe-type-assertion': 'off',
    'typescript/no-unnecessary-type-arguments': 'off',
    'no-await-in-loop': 'off',
    'no-underscore-dangle': 'off',
    'no-shadow': 'off',
    'unicorn/no-array-sort': 'off',
    'unicorn/no-array-reverse': 'off',
    'unicorn/consistent-function-scoping': 'off',
    'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
    'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
  },
  overrides: [
    { files: ['test/**', 'bench/**'], rules: { 'max-lines-per-function': 'off' } },
    ...modules.map((module): OxlintOverride => ({
      files: [filesOf(module)],
      rules: { 'no-restricted-imports': ['error', { patterns: forbidden(module) }] },
    })),
  ],
});
