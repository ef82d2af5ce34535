import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { type Labels, type Manifest, ofKind } from './manifests.ts';

/** One end of a connection. `local` pods are in the namespace of the policies. */
export interface Endpoint {
  readonly labels: Labels;
  readonly local: boolean;
  readonly namespaceLabels?: Labels;
  readonly ports?: Readonly<Record<string, number>>;
}

type Rule = NonNullable<NonNullable<INetworkPolicy['spec']>['ingress']>[number];
type Peer = NonNullable<Rule['from']>[number];
type LabelSelector = NonNullable<INetworkPolicy['spec']>['podSelector'];
type PolicyPort = NonNullable<Rule['ports']>[number];

/** Whether the label selector takes these labels; an empty selector takes all. */
export function selects(selector: NonNullable<LabelSelector>, labels: Labels): boolean {
  const wanted = Object.entries(selector.matchLabels ?? {});
  return (
    wanted.every(([key, value]) => labels[key] === value) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === 'Exists') return value !== undefined;
      if (operator === 'DoesNotExist') return value === undefined;
      const among = value !== undefined && (values ?? []).includes(value);
      return operator === 'In' ? among : !among;
    })
  );
}

/** Whether the NetworkPolicies let `from` open a connection to `port` of `to`, as Kubernetes defines it. */
export function allows(
  manifests: readonly Manifest[],
  from: Endpoint,
  to: Endpoint,
  port: number,
  protocol = 'TCP',
): boolean {
  const policies = ofKind(manifests, 'NetworkPolicy');
  const opens = (ports: readonly PolicyPort[] | undefined) =>
    ports === undefined ||
    ports.some(
      (allowed) =>
        (allowed.protocol ?? 'TCP') === protocol &&
        (allowed.port === undefined ||
          allowed.port === port ||
          (typeof allowed.port === 'string' && to.ports?.[allowed.port] === port)),
    );
  const passes = (
    side: 'Ingress' | 'Egress',
    at: Endpoint,
    other: Endpoint,
    rulesOf: (policy: INetworkPolicy) => readonly (readonly [Peer[] | undefined, Rule['ports']])[],
  ): boolean => {
    if (!at.local) return true;
    const bound = policies.filter(
      ({ spec }) =>
        (spec?.policyTypes ?? ['Ingress']).includes(side) &&
        selects(spec?.podSelector ?? {}, at.labels),
    );
    if (bound.length === 0) return true;
    return bound.some((policy) =>
      rulesOf(policy).some(
        ([peers, ports]) =>
          (peers === undefined || peers.some((peer) => isPeer(peer, other))) &&
          opens(ports ?? undefined),
      ),
    );
  };
  return (
    passes('Egress', from, to, ({ spec }) =>
      (spec?.egress ?? []).map(({ to, ports }) => [to ?? undefined, ports] as const),
    ) &&
    passes('Ingress', to, from, ({ spec }) =>
      (spec?.ingress ?? []).map(({ from, ports }) => [from ?? undefined, ports] as const),
    )
  );
}

function isPeer(peer: Peer, end: Endpoint): boolean {
  if (peer.ipBlock) return !end.local;
  if (peer.namespaceSelector && !selects(peer.namespaceSelector, end.namespaceLabels ?? {}))
    return false;
  if (!peer.namespaceSelector && !end.local) return false;
  return !peer.podSelector || selects(peer.podSelector, end.labels);
}
