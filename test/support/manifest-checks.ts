import type { IProbe } from 'kubernetes-models/v1';
import {
  environmentOf,
  type Labels,
  type Manifest,
  ofKind,
  type Pod,
  podsOf,
} from './manifests.ts';
import { allows, type Endpoint, selects } from './network.ts';

/** The variables that each service's typed config reads, by service. */
export type Settings = ReadonlyMap<string, ReadonlySet<string>>;

interface Context {
  readonly manifests: readonly Manifest[];
  readonly pods: readonly Pod[];
  readonly settings: Settings;
}

/** Given from outside the manifests: by an operator, by hand, or by the cluster. */
const foreignSecrets = new Set(['object-store', 'gateway-auth']);
const foreignClaims = new Set(['dataset']);
/** Read by libraries, not by our configs. */
const standardVariable = /^AWS_[A-Z_]+$|^NODE_OPTIONS$/;

const chain = [
  ['gateway', 'vision'],
  ['gateway', 'labeler'],
  ['gateway', 'generator'],
] as const;

/** Every check of ours, and what it says of the documents; nothing where all is well. */
export function findProblems(manifests: readonly Manifest[], settings: Settings): string[] {
  const context = { manifests, pods: podsOf(manifests), settings };
  return Object.entries(checks).flatMap(([name, check]) =>
    check(context).map((problem) => `${name}: ${problem}`),
  );
}

const checks: Record<string, (context: Context) => string[]> = {
  selector: selectorProblems,
  port: portProblems,
  probe: ({ pods }) => pods.flatMap(probeProblems),
  environment: environmentProblems,
  address: addressProblems,
  resources: ({ pods }) => pods.flatMap(resourceProblems),
  reference: referenceProblems,
  security: ({ pods }) => pods.flatMap(securityProblems),
  shutdown: shutdownProblems,
  image: ({ pods }) => pods.flatMap(imageProblems),
  network: networkProblems,
};

function selectorProblems({ manifests, pods }: Context): string[] {
  const problems: string[] = [];
  const expect = (who: string, selector: Parameters<typeof selects>[0], all = pods) => {
    if (!all.some(({ labels }) => selects(selector, labels)))
      problems.push(`${who} selects no pod`);
  };
  for (const { metadata, spec } of ofKind(manifests, 'Deployment')) {
    const own = spec?.template.metadata?.labels ?? {};
    if (!selects(spec?.selector ?? {}, own))
      problems.push(`Deployment ${metadata?.name} does not select its own template`);
    for (const { labelSelector } of spec?.template.spec?.topologySpreadConstraints ?? [])
      if (!selects(labelSelector ?? {}, own))
        problems.push(`Deployment ${metadata?.name} spreads over others' pods`);
  }
  for (const { metadata, spec } of ofKind(manifests, 'Service'))
    expect(`Service ${metadata?.name}`, { matchLabels: spec?.selector ?? {} });
  for (const { metadata, spec } of ofKind(manifests, 'PodDisruptionBudget'))
    expect(`PodDisruptionBudget ${metadata?.name}`, spec?.selector ?? {});
  for (const { metadata, spec } of ofKind(manifests, 'NetworkPolicy')) {
    expect(`NetworkPolicy ${metadata?.name}`, spec?.podSelector ?? {});
    const peers = [
      ...(spec?.ingress ?? []).flatMap(({ from }) => from ?? []),
      ...(spec?.egress ?? []).flatMap(({ to }) => to ?? []),
    ];
    // The label of the trainer's callers is theirs to wear.
    for (const { podSelector, namespaceSelector } of peers)
      if (podSelector && !namespaceSelector && !podSelector.matchLabels?.[clientLabel])
        expect(`a peer of NetworkPolicy ${metadata?.name}`, podSelector);
  }
  const services = ofKind(manifests, 'Service').map(({ metadata }) => metadata?.labels ?? {});
  for (const { metadata, spec } of ofKind(manifests, 'ServiceMonitor'))
    if (!services.some((labels) => selects(spec.selector, labels)))
      problems.push(`ServiceMonitor ${metadata?.name} selects no Service`);
  return problems;
}

const clientLabel = 'radscribe.dev/trainer-client';

function portsOf(pod: Pod): Record<string, number> {
  return Object.fromEntries(
    pod.containers.flatMap(({ ports }) =>
      (ports ?? []).map(({ name, containerPort }) => [name ?? `${containerPort}`, containerPort]),
    ),
  );
}

const hasPort = (pod: Pod, port: number | string): boolean =>
  typeof port === 'string' ? port in portsOf(pod) : Object.values(portsOf(pod)).includes(port);

function portProblems({ manifests, pods }: Context): string[] {
  const problems: string[] = [];
  const expect = (who: string, port: number | string, chosen: readonly Pod[]) => {
    for (const pod of chosen)
      if (!hasPort(pod, port)) problems.push(`${who}: ${pod.owner} has no port ${port}`);
  };
  const chosenBy = (selector: Parameters<typeof selects>[0]) =>
    pods.filter(({ labels }) => selects(selector, labels));
  for (const { metadata, spec } of ofKind(manifests, 'Service'))
    for (const { port, targetPort } of spec?.ports ?? [])
      expect(
        `Service ${metadata?.name}`,
        targetPort ?? port,
        chosenBy({ matchLabels: spec?.selector ?? {} }),
      );
  for (const { metadata, spec } of ofKind(manifests, 'ServiceMonitor'))
    for (const { port } of spec.endpoints ?? [])
      for (const service of ofKind(manifests, 'Service'))
        if (
          selects(spec.selector, service.metadata?.labels ?? {}) &&
          !service.spec?.ports?.some(({ name }) => name === port)
        )
          problems.push(
            `ServiceMonitor ${metadata?.name}: Service ${service.metadata?.name} has no port ${port}`,
          );
  for (const { metadata, spec } of ofKind(manifests, 'PodMonitor'))
    for (const { port } of spec.podMetricsEndpoints ?? [])
      expect(`PodMonitor ${metadata?.name}`, port ?? '', chosenBy(spec.selector));
  for (const { metadata, spec } of ofKind(manifests, 'NetworkPolicy'))
    for (const { ports } of spec?.ingress ?? [])
      for (const { port } of ports ?? [])
        if (port !== undefined)
          expect(`NetworkPolicy ${metadata?.name}`, port, chosenBy(spec?.podSelector ?? {}));
  return problems;
}

function probeProblems(pod: Pod): string[] {
  const problems: string[] = [];
  // A Job ends by itself; Kubernetes need not ask whether it is well.
  if (pod.owner.startsWith('Job')) return problems;
  for (const container of pod.spec.containers) {
    const probes = {
      readiness: container.readinessProbe,
      liveness: container.livenessProbe,
      startup: container.startupProbe,
    };
    for (const [kind, probe] of Object.entries(probes)) {
      const port = probe && portOfProbe(probe);
      if (port !== undefined && !hasPort({ ...pod, containers: [container] }, port))
        problems.push(`${pod.owner}: the ${kind} probe asks the missing port ${port}`);
    }
    for (const kind of ['readiness', 'liveness'] as const)
      if (!probes[kind]) problems.push(`${pod.owner} has no ${kind} probe`);
    const what = (probe: IProbe | undefined) => JSON.stringify(probe?.grpc ?? probe?.httpGet);
    if (container.startupProbe && what(probes.readiness) === what(probes.liveness))
      problems.push(`${pod.owner}: liveness asks what readiness asks, so load would restart it`);
  }
  return problems;
}

const portOfProbe = ({ grpc, httpGet, tcpSocket }: IProbe): number | string | undefined =>
  grpc?.port ?? httpGet?.port ?? tcpSocket?.port;

function environmentProblems({ manifests, pods, settings }: Context): string[] {
  return pods.flatMap((pod) =>
    pod.containers.flatMap((container) => {
      const known = settings.get(container.name);
      return [...environmentOf(manifests, container).keys()]
        .filter((name) => !known?.has(name) && !standardVariable.test(name))
        .map((name) => `${pod.owner} sets ${name}, which ${container.name}'s config does not know`);
    }),
  );
}

/** `dns:///vision:50052` names a headless Service with that port. */
function addressProblems({ manifests, pods }: Context): string[] {
  const services = ofKind(manifests, 'Service');
  return pods.flatMap((pod) =>
    pod.containers.flatMap((container) =>
      [...environmentOf(manifests, container)].flatMap(([name, value]) => {
        const found = /^(?:dns:\/\/\/|http:\/\/)([a-z-]+):(\d+)$/.exec(value ?? '');
        if (!found) return name.endsWith('_ADDRESS') ? [`${pod.owner}: ${name}=${value}`] : [];
        const service = services.find(({ metadata }) => metadata?.name === found[1]);
        if (!service?.spec?.ports?.some(({ port }) => port === Number(found[2])))
          return [`${pod.owner}: ${name} names ${value}, which no Service has`];
        return value?.startsWith('dns:') && service.spec.clusterIP !== 'None'
          ? [`${pod.owner}: ${name} names a Service that is not headless`]
          : [];
      }),
    ),
  );
}

function resourceProblems({ owner, containers }: Pod): string[] {
  return containers.flatMap(({ name, resources: { requests = {}, limits = {} } = {} }) => {
    const devices = [...Object.keys(requests), ...Object.keys(limits)].filter((key) =>
      key.startsWith('nvidia.com/'),
    );
    return [
      ...devices
        .filter((key) => requests[key] !== limits[key])
        .map((key) => `${owner}/${name}: ${key} is ${requests[key]} asked, ${limits[key]} at most`),
      ...(['cpu', 'memory'] as const)
        .filter((key) => requests[key] === undefined)
        .map((key) => `${owner}/${name} asks for no ${key}`),
      ...(limits['memory'] === undefined ? [`${owner}/${name} has no memory limit`] : []),
    ];
  });
}

function referenceProblems({ manifests, pods }: Context): string[] {
  const has = (kind: Parameters<typeof ofKind>[1], name: string | undefined) =>
    ofKind(manifests, kind).some(({ metadata }) => metadata?.name === name);
  const certificates = new Set(
    ofKind(manifests, 'Certificate').map(({ spec }) => spec?.secretName),
  );
  const isSecret = (name = '') =>
    has('Secret', name) || certificates.has(name) || foreignSecrets.has(name);
  const problems = pods.flatMap(({ owner, spec, containers }) => {
    const volumes = new Map((spec.volumes ?? []).map((volume) => [volume.name, volume]));
    return [
      ...(has('ServiceAccount', spec.serviceAccountName ?? undefined)
        ? []
        : [`${owner} runs as ${spec.serviceAccountName}, which is no ServiceAccount`]),
      ...containers.flatMap(({ volumeMounts, envFrom }) => [
        ...(volumeMounts ?? [])
          .filter(({ name }) => !volumes.has(name))
          .map(({ name }) => `${owner} mounts ${name}, which is no volume of it`),
        ...(envFrom ?? [])
          .filter(({ configMapRef: map, secretRef: secret }) =>
            map ? !has('ConfigMap', map.name ?? undefined) : !isSecret(secret?.name ?? undefined),
          )
          .map((from) => `${owner} reads variables from nowhere: ${JSON.stringify(from)}`),
      ]),
      ...[...volumes.values()]
        .filter(
          ({ persistentVolumeClaim: claim, configMap, secret }) =>
            (claim &&
              !has('PersistentVolumeClaim', claim.claimName) &&
              !foreignClaims.has(claim.claimName)) ||
            (configMap && !has('ConfigMap', configMap.name ?? undefined)) ||
            (secret && !isSecret(secret.secretName ?? undefined)),
        )
        .map(({ name }) => `${owner}: volume ${name} names nothing that exists`),
    ];
  });
  for (const { metadata, spec } of ofKind(manifests, 'ScaledObject'))
    if (!has('Deployment', spec.scaleTargetRef.name))
      problems.push(`ScaledObject ${metadata?.name} scales no Deployment`);
  for (const { metadata, subjects } of ofKind(manifests, 'RoleBinding'))
    for (const { name } of subjects ?? [])
      if (!has('ServiceAccount', name))
        problems.push(`RoleBinding ${metadata?.name} binds ${name}, which is no ServiceAccount`);
  return problems;
}

/** The restricted profile of the pod security standards, and a read-only root. */
function securityProblems({ owner, spec, containers }: Pod): string[] {
  const pod = spec.securityContext;
  const problems: [boolean, string][] = [
    [pod?.runAsNonRoot === true, 'may run as root'],
    [pod?.seccompProfile?.type === 'RuntimeDefault', 'has no seccomp profile'],
    [!spec.hostNetwork && !spec.hostPID && !spec.hostIPC, 'shares the namespaces of its node'],
    [!(spec.volumes ?? []).some(({ hostPath }) => hostPath), 'mounts a folder of its node'],
  ];
  for (const { name, securityContext } of containers)
    problems.push(
      [securityContext?.allowPrivilegeEscalation === false, `${name} may gain privileges`],
      [securityContext?.readOnlyRootFilesystem === true, `${name} may write its own root`],
      [securityContext?.capabilities?.drop?.includes('ALL') === true, `${name} has capabilities`],
    );
  return problems.filter(([right]) => !right).map(([, what]) => `${owner} ${what}`);
}

function shutdownProblems({ manifests, pods }: Context): string[] {
  return pods.flatMap(({ owner, spec }) =>
    spec.containers.flatMap((container) => {
      const variables = environmentOf(manifests, container);
      const graceMs = Number(variables.get('RADSCRIBE_GRACE_MS') ?? 0);
      const drainMs = Number(variables.get('RADSCRIBE_DRAIN_DELAY_MS') ?? 0);
      const preStopS = container.lifecycle?.preStop?.sleep?.seconds ?? 0;
      const neededS = preStopS + (drainMs + graceMs) / 1000;
      return graceMs > 0 && (spec.terminationGracePeriodSeconds ?? 30) <= neededS
        ? [
            `${owner} is killed after ${spec.terminationGracePeriodSeconds} s, needs over ${neededS}`,
          ]
        : [];
    }),
  );
}

const imageProblems = ({ owner, containers }: Pod): string[] =>
  containers
    .filter(
      ({ image = '' }) =>
        !/(:[\w.-]+|@sha256:[0-9a-f]{64})$/.test(image) || image.endsWith(':latest'),
    )
    .map(({ image }) => `${owner} uses ${image}, which is no fixed version`);

function networkProblems({ manifests, pods }: Context): string[] {
  const namespaces = ofKind(manifests, 'Namespace')[0];
  const end = ({ labels, ...pod }: Pod): Endpoint => ({
    labels,
    local: true,
    namespaceLabels: namespaces?.metadata?.labels ?? {},
    ports: portsOf({ labels, ...pod }),
  });
  const outside = (namespaceLabels: Labels, labels: Labels = {}): Endpoint => ({
    labels,
    local: false,
    namespaceLabels,
  });
  const services = pods.filter(({ name }) => name in ports);
  const problems: string[] = [];
  const expect = (open: boolean, from: Endpoint, to: Endpoint, port: number, what: string) => {
    const protocol = port === 53 ? 'UDP' : 'TCP';
    if (allows(manifests, from, to, port, protocol) !== open)
      problems.push(`${what} is ${open ? 'cut' : 'open'}`);
  };
  for (const from of services)
    for (const to of services)
      if (from !== to)
        expect(
          chain.some(([a, b]) => a === from.name && b === to.name),
          end(from),
          end(to),
          ports[to.name] ?? 0,
          `${from.name} -> ${to.name}`,
        );
  const dns = outside({ 'kubernetes.io/metadata.name': 'kube-system' }, { 'k8s-app': 'kube-dns' });
  const monitoring = outside({ 'kubernetes.io/metadata.name': 'monitoring' });
  const monitored = ofKind(manifests, 'ServiceMonitor').length > 0;
  const collector = pods.find(({ name }) => name === 'otel-collector');
  const gateway = services.find(({ name }) => name === 'gateway');
  for (const pod of pods) {
    expect(true, end(pod), dns, 53, `${pod.name} -> DNS`);
    const metrics = portsOf(pod)['metrics'];
    if (metrics !== undefined)
      expect(monitored, monitoring, end(pod), metrics, `Prometheus -> ${pod.name}`);
    if (collector && pod !== collector)
      expect(true, end(pod), end(collector), 4318, `${pod.name} -> collector`);
  }
  if (collector) expect(true, end(collector), monitoring, 4317, 'collector -> trace store');
  if (gateway) {
    const port = ports['gateway'] ?? 0;
    expect(true, outside({ 'radscribe.dev/client': 'true' }), end(gateway), port, 'app -> gateway');
    expect(false, outside({}), end(gateway), port, 'anyone -> gateway');
  }
  return problems;
}

const ports: Readonly<Record<string, number>> = {
  gateway: 50051,
  vision: 50052,
  labeler: 50053,
  generator: 50054,
  trainer: 50055,
};
