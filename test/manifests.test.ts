import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { IContainer } from 'kubernetes-models/v1';
import { parseAllDocuments } from 'yaml';
import { readConfig } from '../lib/service/settings.ts';
import { jobOf } from '../services/trainer/runs/kubernetes.ts';
import { settings as trainerSettings } from '../services/trainer/config.ts';
import { typeProblems } from './support/kubernetes-types.ts';
import { findProblems, type Settings } from './support/manifest-checks.ts';
import {
  environmentOf,
  type Kinds,
  kubectl,
  type Manifest,
  ofKind,
  podsOf,
  readFolder,
  render,
} from './support/manifests.ts';
import { serviceSettings } from './support/settings.ts';

const k8s = fileURLToPath(new URL('../deploy/k8s', import.meta.url));
const overlays = ['dev', 'staging', 'production'] as const;
const withKubectl = kubectl ? test : test.skip;

/** Everything that our own programs read; the collector reads nothing of ours. */
const settings: Settings = serviceSettings;

test('every YAML file of the deployment parses, without a key twice', async (t) => {
  const files = await readdir(k8s, { recursive: true });
  const yaml = files.filter((file) => file.endsWith('.yaml'));
  t.true(yaml.length > 20);
  for (const file of yaml)
    for (const document of parseAllDocuments(await readFile(path.join(k8s, file), 'utf8')))
      t.deepEqual(document.errors, [], file);
});

test('the base as it is written has no problem, and compiles against the published types', async (t) => {
  const base = await readFolder(path.join(k8s, 'base'));
  // Image names get their versions in the overlays.
  t.deepEqual(
    findProblems(base, settings).filter((problem) => !problem.startsWith('image')),
    [],
  );
  t.deepEqual(await typeProblems(base), []);
});

for (const overlay of overlays)
  withKubectl(
    `the overlay ${overlay} renders, has no problem, and compiles against the published types`,
    async (t) => {
      const manifests = await render(path.join(k8s, 'overlays', overlay));
      t.deepEqual(findProblems(manifests, settings), []);
      t.deepEqual(await typeProblems(manifests), []);
    },
  );

const components = [
  'autoscaling',
  'monitoring',
  'tracing',
  'gpu-sharing/mig',
  'gpu-sharing/time-slicing',
  'gpu-sharing/dynamic-resources',
  'mtls',
  'object-store',
  'image-volume',
  'training',
  'canary',
];

withKubectl('each component alone goes with the base', async (t) => {
  const all: Manifest[] = [];
  for (const component of components) {
    const manifests = await renderWith(t, component);
    t.deepEqual(
      findProblems(manifests, settings).filter((line) => !line.startsWith('image')),
      [],
      component,
    );
    all.push(...manifests);
  }
  t.deepEqual(await typeProblems(all), []);
});

test('each component says in ten lines what it adds and what it needs', async (t) => {
  for (const component of new Set(components.map((name) => name.split('/')[0] ?? ''))) {
    const readme = await readFile(path.join(k8s, 'components', component, 'README.md'), 'utf8');
    const lines = readme.trim().split('\n');
    t.true(lines.length >= 7 && lines.length <= 12, `${component}: ${lines.length} lines`);
    t.is(lines[0], `# ${component}`);
    t.regex(readme, /[Nn]eeds/);
  }
});

async function renderWith(t: { teardown: (f: () => Promise<void>) => void }, component: string) {
  const folder = await realpath(await mkdtemp(path.join(tmpdir(), 'radscribe-')));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const to = (name: string) => path.relative(folder, path.join(k8s, name));
  await writeFile(
    path.join(folder, 'kustomization.yaml'),
    `resources: [${to('base')}]\ncomponents: [${to(`components/${component}`)}]\n`,
  );
  return render(folder);
}

withKubectl(
  'production has three replicas of each stage or more, and dev none that needs a GPU',
  async (t) => {
    const production = await render(path.join(k8s, 'overlays', 'production'));
    const floors = production.flatMap((manifest) => {
      const { kind, metadata, spec } = manifest as Manifest & {
        spec?: { minReplicaCount?: number };
      };
      return kind === 'ScaledObject' ? [[metadata.name, spec?.minReplicaCount]] : [];
    });
    t.deepEqual(Object.fromEntries(floors), { gateway: 3, vision: 3, labeler: 3, generator: 3 });
    const dev = podsOf(await render(path.join(k8s, 'overlays', 'dev')));
    for (const { containers } of dev)
      for (const { resources } of containers) t.false(JSON.stringify(resources).includes('nvidia'));
  },
);

test('every setting in the manifests is one that the service documents', async (t) => {
  const base = await readFolder(path.join(k8s, 'base'));
  for (const pod of podsOf(base))
    for (const container of pod.containers)
      for (const name of environmentOf(base, container).keys())
        t.true(settings.get(pod.name)?.has(name), `${pod.name} does not know ${name}`);
});

/** Each plants one mistake in the base, and names the check that must see it. */
const mistakes: Record<string, { plant: (of: Finder) => void; found: RegExp }> = {
  'a Service whose targetPort is no port of its pods': {
    plant: (of) => {
      const [port] = of('Service', 'vision').spec?.ports ?? [];
      if (port) port.targetPort = 'gprc';
    },
    found: /^port: Service vision: Deployment vision has no port gprc$/,
  },
  'a Service whose selector matches nothing': {
    plant: (of) => {
      of('Service', 'labeler').spec = {
        selector: { 'app.kubernetes.io/name': 'labeller' },
      };
    },
    found: /^selector: Service labeler selects no pod$/,
  },
  'a Deployment that does not select its own pods': {
    plant: (of) => {
      const { spec } = of('Deployment', 'vision');
      if (spec) spec.selector = { matchLabels: { app: 'vision' } };
    },
    found: /^selector: Deployment vision does not select/,
  },
  'a probe on a missing port': {
    plant: (of) => {
      container(of, 'generator').livenessProbe = { grpc: { port: 50045, service: 'liveness' } };
    },
    found: /^probe: .*generator: the liveness probe asks the missing port 50045$/,
  },
  'a liveness probe that equals the readiness probe': {
    plant: (of) => {
      const generator = container(of, 'generator');
      if (generator.readinessProbe) generator.livenessProbe = generator.readinessProbe;
    },
    found: /^probe: .*load would restart it$/,
  },
  'a variable that the config does not know': {
    plant: (of) => {
      container(of, 'vision').env = [{ name: 'RADSCRIBE_MAX_BATCHES', value: '4' }];
    },
    found: /^environment: .*vision sets RADSCRIBE_MAX_BATCHES, which/,
  },
  'a GPU limit without a request': {
    plant: (of) => {
      const { requests } = container(of, 'labeler').resources ?? {};
      delete requests?.['nvidia.com/gpu'];
    },
    found: /^resources: .*labeler: nvidia\.com\/gpu is undefined asked, 1 at most$/,
  },
  'a NetworkPolicy that cuts an edge of the chain': {
    plant: (of) => {
      const { spec } = of('NetworkPolicy', 'gateway');
      if (spec) spec.egress = (spec.egress ?? []).slice(0, 2);
    },
    found: /^network: gateway -> generator is cut$/,
  },
  'a NetworkPolicy that lets one stage call another': {
    plant: (of) => {
      const { spec } = of('NetworkPolicy', 'generator');
      spec?.ingress?.[0]?.from?.push({ podSelector: {} });
      const egress = of('NetworkPolicy', 'allow-dns').spec?.egress;
      egress?.push({ to: [{ podSelector: {} }] });
    },
    found: /^network: vision -> generator is open$/,
  },
  'an address that no Service has': {
    plant: (of) => {
      const value = 'dns:///generator:50045';
      container(of, 'gateway').env = [{ name: 'RADSCRIBE_GENERATOR_ADDRESS', value }];
    },
    found: /^address: .*RADSCRIBE_GENERATOR_ADDRESS names dns:\/\/\/generator:50045/,
  },
  'a grace shorter than the longest generation': {
    plant: (of) => {
      const { spec } = of('Deployment', 'generator').spec?.template ?? {};
      if (spec) spec.terminationGracePeriodSeconds = 30;
    },
    found: /^shutdown: Deployment generator is killed after 30 s, needs over 70$/,
  },
  'a container that may write its own root': {
    plant: (of) => {
      container(of, 'vision').securityContext = { allowPrivilegeEscalation: false };
    },
    found: /^security: Deployment vision vision may write its own root$/,
  },
  'a claim that does not exist': {
    plant: (of) => {
      const { spec } = of('Deployment', 'vision').spec?.template ?? {};
      spec?.volumes?.push({ name: 'data', persistentVolumeClaim: { claimName: 'nowhere' } });
    },
    found: /^reference: .*volume data names nothing/,
  },
};

type Finder = <K extends keyof Kinds>(kind: K, name: string) => Kinds[K];

function container(of: Finder, name: string): IContainer {
  const found = of('Deployment', name).spec?.template.spec?.containers[0];
  if (!found) throw new Error(`no container in ${name}`);
  return found;
}

const finder =
  (manifests: readonly Manifest[]): Finder =>
  (kind, name) => {
    const found = ofKind(manifests, kind).find(({ metadata }) => metadata?.name === name);
    if (!found) throw new Error(`no ${kind} ${name}`);
    return found;
  };

for (const [what, { plant, found }] of Object.entries(mistakes))
  test(`our checks catch ${what}`, async (t) => {
    const base = await readFolder(path.join(k8s, 'base'));
    plant(finder(base));
    const problems = findProblems(base, settings);
    t.true(
      problems.some((problem) => found.test(problem)),
      problems.join('\n'),
    );
  });

test('the compiler catches a field that Kubernetes does not know, and a value of the wrong type', async (t) => {
  const base = await readFolder(path.join(k8s, 'base'));
  const of = finder(base);
  Object.assign(container(of, 'vision'), { imagePulPolicy: 'Always' });
  Object.assign(of('Deployment', 'labeler').spec ?? {}, { replicas: '3' });
  const problems = await typeProblems(base);
  t.true(
    problems.some((problem) =>
      /^Deployment vision: .*'"imagePulPolicy"' does not exist/.test(problem),
    ),
  );
  t.true(
    problems.some((problem) => /^Deployment labeler: .*'string' is not assignable/.test(problem)),
  );
});

for (const overlay of ['staging', 'production'])
  withKubectl(
    `a training run of ${overlay} is a Job that finds its image, claims, rights and way out`,
    async (t) => {
      const manifests = await render(path.join(k8s, 'overlays', overlay));
      const trainer = podsOf(manifests).find(({ name }) => name === 'trainer');
      const own = trainer?.containers[0];
      if (!own) throw new Error('no trainer');
      const variables = Object.fromEntries(environmentOf(manifests, own));
      const namespace = ofKind(manifests, 'Namespace')[0]?.metadata?.name ?? '';
      // Kubernetes puts it in from the pod's own metadata.
      const config = readConfig(trainerSettings, {
        ...variables,
        RADSCRIBE_JOB_NAMESPACE: namespace,
      });
      t.is(config.executor, 'kubernetes');
      t.is(config.jobImage, own.image);
      const job = jobOf({ id: 'run-1' } as Parameters<typeof jobOf>[0], {
        image: config.jobImage ?? '',
        namespace: config.jobNamespace,
        serviceAccount: config.jobServiceAccount,
        queue: config.jobQueue,
        gpus: config.jobGpus,
        claims: config.jobClaims,
        runs: config.runs,
        gate: config.gateMetrics,
        cache: config.cacheDir,
      });
      const all = [...manifests, job as unknown as Manifest];
      t.deepEqual(findProblems(all, settings), []);
      t.deepEqual(await typeProblems([job as unknown as Manifest]), []);
      const folders = config.jobClaims.map((claim) => claim.split(':')[1] ?? '');
      for (const folder of [config.runs, config.cacheDir])
        t.true(
          folders.some((mount) => folder.startsWith(mount)),
          `${folder} is on no claim of the Job`,
        );
    },
  );
