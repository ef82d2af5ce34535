import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { IDeployment } from 'kubernetes-models/apps/v1';
import type { IJob } from 'kubernetes-models/batch/v1';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1';
import type { IRoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1';
import type { ICertificate } from '@kubernetes-models/cert-manager/cert-manager.io/v1';
import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import type {
  IPodMonitor,
  IServiceMonitor,
} from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import type {
  IConfigMap,
  IContainer,
  INamespace,
  IPersistentVolumeClaim,
  IPodSpec,
  ISecret,
  IService,
  IServiceAccount,
} from 'kubernetes-models/v1';
import { parse, parseAllDocuments } from 'yaml';

/** The kinds that our checks read; any other passes through as it is. */
export interface Kinds {
  Certificate: ICertificate;
  ConfigMap: IConfigMap;
  Deployment: IDeployment;
  Job: IJob;
  Namespace: INamespace;
  NetworkPolicy: INetworkPolicy;
  PersistentVolumeClaim: IPersistentVolumeClaim;
  PodDisruptionBudget: IPodDisruptionBudget;
  PodMonitor: IPodMonitor;
  RoleBinding: IRoleBinding;
  ScaledObject: IScaledObject;
  Secret: ISecret;
  Service: IService;
  ServiceAccount: IServiceAccount;
  ServiceMonitor: IServiceMonitor;
}

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Labels };
}

export type Labels = Readonly<Record<string, string>>;

/** What a workload starts: the template of a Deployment or a Job. */
export interface Pod {
  readonly owner: string;
  readonly name: string;
  readonly labels: Labels;
  readonly spec: IPodSpec;
  readonly containers: readonly IContainer[];
}

export function ofKind<K extends keyof Kinds>(manifests: readonly Manifest[], kind: K): Kinds[K][] {
  return manifests.filter((manifest) => manifest.kind === kind) as unknown as Kinds[K][];
}

export function podsOf(manifests: readonly Manifest[]): Pod[] {
  return [...ofKind(manifests, 'Deployment'), ...ofKind(manifests, 'Job')].map((owner) => {
    const name = owner.metadata?.name ?? '';
    const { metadata, spec } = owner.spec?.template ?? {};
    return {
      owner: `${owner.kind} ${name}`,
      name,
      labels: metadata?.labels ?? {},
      spec: spec ?? { containers: [] },
      containers: [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])],
    };
  });
}

/** The variables that a container starts with, literal or out of ConfigMaps; references stay undefined. */
export function environmentOf(
  manifests: readonly Manifest[],
  container: IContainer,
): Map<string, string | undefined> {
  const variables = new Map<string, string | undefined>();
  for (const { configMapRef } of container.envFrom ?? []) {
    const map = ofKind(manifests, 'ConfigMap').find(
      ({ metadata }) => metadata?.name === configMapRef?.name,
    );
    for (const [name, value] of Object.entries(map?.data ?? {})) variables.set(name, value);
  }
  for (const { name, value } of container.env ?? []) variables.set(name, value);
  return variables;
}

function readManifests(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    const value = document.toJS() as Manifest | null;
    return value === null ? [] : [value];
  });
}

interface Kustomization {
  readonly resources?: readonly string[];
  readonly labels?: readonly { readonly pairs: Labels; readonly includeTemplates?: boolean }[];
  readonly configMapGenerator?: readonly { name: string; literals?: readonly string[] }[];
}

/** The documents of a folder as they are written: without kubectl, so without patches and overlays. */
export async function readFolder(folder: string): Promise<Manifest[]> {
  const text = await readFile(path.join(folder, 'kustomization.yaml'), 'utf8');
  const kustomization = parse(text) as Kustomization;
  const manifests: Manifest[] = [];
  for (const file of kustomization.resources ?? [])
    manifests.push(...readManifests(await readFile(path.join(folder, file), 'utf8')));
  for (const { name, literals = [] } of kustomization.configMapGenerator ?? []) {
    const data = Object.fromEntries(
      literals.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    const map: IConfigMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data };
    manifests.push(map as unknown as Manifest);
  }
  for (const { pairs, includeTemplates } of kustomization.labels ?? [])
    for (const manifest of manifests) {
      manifest.metadata.labels = { ...manifest.metadata.labels, ...pairs };
      const template = (manifest as unknown as Partial<IDeployment>).spec?.template?.metadata;
      if (includeTemplates && template) template.labels = { ...template.labels, ...pairs };
    }
  return manifests;
}

const run = promisify(execFile);

/** A program's file on the path; undefined where it is not installed. */
export const findProgram = (name: string): string | undefined =>
  (process.env['PATH'] ?? '')
    .split(path.delimiter)
    .map((folder) => path.join(folder, name))
    .find((file) => existsSync(file));

export const kubectl = findProgram('kubectl');

/** What `kubectl apply -k` would send. */
export async function render(folder: string): Promise<Manifest[]> {
  const { stdout } = await run(kubectl ?? 'kubectl', ['kustomize', folder], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return readManifests(stdout);
}
