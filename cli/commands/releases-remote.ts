import type { CallOptions } from 'nice-grpc';
import { DomainError } from '../../lib/errors.ts';
import { isReleaseId } from '../../lib/releases/manifest.ts';
import type { Channel, Release } from '../../lib/rpc/messages.ts';
import { printTable } from '../table.ts';
import { mebibytes } from './releases-text.ts';
import type { TrainerClient } from './run-source.ts';

/** The output of a command. */
export interface Printed {
  readonly json: unknown;
  readonly text: string;
}

export interface MoveFlags {
  readonly expect?: number;
  readonly by?: string;
}

export interface PromoteFlags extends MoveFlags {
  readonly weight?: number;
  readonly gate?: readonly string[];
  readonly force?: true;
}

interface Trainer {
  readonly client: TrainerClient;
  readonly call: CallOptions;
}

/** A command on a trainer service; `args` are those of its usage. */
export type RemoteWork = (
  trainer: Trainer,
  flags: PromoteFlags,
  ...args: readonly string[]
) => Promise<Printed>;

const idOf = (name: string): string => name.replace(/^releases\//, '');

/** The subcommands of `radscribe releases` that a trainer service does. */
export const remoteReleases = {
  list: async (trainer) => {
    const releases = await listAll(trainer);
    const rows = releases.map(({ id, variant, preset, bytes, channels }) => [
      id,
      variant,
      preset,
      mebibytes(bytes),
      channels.join(', '),
    ]);
    const head = ['release', 'variant', 'preset', 'size', 'channels'];
    return { json: { releases }, text: printTable([head, ...rows]) };
  },
  show: async (trainer, _, release = '') => {
    const { client, call } = trainer;
    const found = await client.getRelease({ name: await resolve(trainer, release) }, call);
    const { id, variant, preset, bytes, channels } = found;
    const facts = [
      ['release', id],
      ['variant', `${variant}, preset ${preset}`],
      ['size', mebibytes(bytes)],
      ['channels', channels.join(', ') || 'none'],
    ];
    return { json: found, text: printTable(facts) };
  },
  promote: async (trainer, { expect = 0, weight, force = false }, channel = '', release = '') => {
    const { client, call } = trainer;
    const name = await resolve(trainer, release);
    const request = { name, channel, weight, force, expectedGeneration: expect };
    return moved(await client.promoteRelease(request, call));
  },
  rollback: async ({ client, call }, { expect = 0 }, channel = '') =>
    moved(await client.rollbackChannel({ channel, expectedGeneration: expect }, call)),
} satisfies Readonly<Record<string, RemoteWork>>;

const moved = (state: Channel): Printed => ({
  json: state,
  text: `${state.channel} serves ${idOf(state.release)}, generation ${state.generation}\n`,
});

async function listAll({ client, call }: Trainer): Promise<readonly Release[]> {
  const releases: Release[] = [];
  let pageToken = '';
  do {
    const page = await client.listReleases({ pageSize: 1000, pageToken }, call);
    releases.push(...page.releases);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return releases;
}

/** `releases/{id}` of an id or a channel. Throws RELEASE_NOT_FOUND. */
async function resolve(trainer: Trainer, name: string): Promise<string> {
  if (isReleaseId(name)) return `releases/${name}`;
  const found = (await listAll(trainer)).find(({ channels }) => channels.includes(name));
  if (found) return found.name;
  const message = `${name} is neither a release nor a channel of the trainer's store`;
  throw new DomainError('NOT_FOUND', 'RELEASE_NOT_FOUND', message, { field: 'release' });
}
