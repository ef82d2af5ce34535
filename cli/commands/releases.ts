import type { Command } from 'commander';
import { invalidArgument } from '../../lib/errors.ts';
import { listReleases } from '../../lib/releases/list.ts';
import { standardGate } from '../../lib/releases/gate.ts';
import { exportRelease, importRelease } from '../../lib/releases/store/archive.ts';
import { collectGarbage } from '../../lib/releases/store/collect.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import { printAgreement } from '../../lib/runtime/decode/agreement.ts';
import { quantizeRelease } from '../../lib/training/quantize.ts';
import { count, nameList, share, wholeNumber } from '../args.ts';
import { type ConnectionFlags, connectionOptions, withClient } from '../client.ts';
import { printTable } from '../table.ts';
import {
  type MoveFlags,
  type Printed,
  type PromoteFlags,
  type RemoteWork,
  remoteReleases,
} from './releases-remote.ts';
import {
  describeGc,
  describeHistory,
  describeList,
  describeRows,
  mebibytes,
  sizeOf,
} from './releases-text.ts';
import { trainerAt } from './trainer-server.ts';

interface StoreFlags {
  readonly store: string;
  readonly json?: true;
}

/** `radscribe releases …`: the releases of a store, and the channels that point to them. */
export function registerReleases(program: Command): void {
  const releases = program
    .command('releases')
    .description('list, verify, promote, roll back, quantize and remove releases')
    .addHelpText(
      'after',
      `
A store is a folder or a URL: file:///srv/releases, s3://bucket/prefix?region=eu-central-1, or for an
S3-compatible store s3://bucket/prefix?endpoint=http://host:9000. Credentials are those of the AWS SDK.
RELEASE is an id, a tag or a channel. With --server, list, show, promote and rollback ask a trainer
service for the releases of its store; RELEASE is then an id or a channel.

Examples:
  radscribe releases list --store file:///srv/releases
  radscribe releases promote stable rs-0123456789abcdef01234567 --store s3://models/radscribe
  radscribe releases promote canary v2 --weight 0.05
  radscribe releases promote stable rs-0123456789abcdef01234567 --server trainer:50055
  radscribe releases rollback stable
  radscribe releases gc --dry-run`,
    );
  registerReading(releases);
  registerMoving(releases);
  registerKeeping(releases);
  registerQuantize(releases);
}

/**
 * A subcommand on a store: `work` gives the output, as JSON and as text. One with `remote` also takes
 * --server, and then works on a trainer service.
 */
function command(
  parent: Command,
  usage: string,
  description: string,
  work: (store: ReleaseStore, flags: never, ...args: never[]) => Promise<Printed>,
  remote?: RemoteWork,
): Command {
  const made = parent
    .command(usage)
    .description(description)
    .option('--store <url>', 'a folder, file:///… or s3://…', 'releases')
    .option('--json', 'print JSON')
    .action(async (...given: readonly unknown[]) => {
      const flags = given.at(-2) as StoreFlags & RemoteFlags;
      const args = given.slice(0, -2) as never[];
      const { json, text } =
        remote && flags.server !== undefined
          ? await onServer(flags, flags.server, remote, args)
          : await onStore(flags.store, (store) => work(store, flags as never, ...args));
      process.stdout.write(flags.json ? `${JSON.stringify(json)}\n` : text);
    });
  if (!remote) return made;
  return connectionOptions(
    made.option('--server <host:port>', 'trainer service whose store is used instead of --store'),
  );
}

interface RemoteFlags extends ConnectionFlags, PromoteFlags {
  readonly server?: string;
}

async function onStore<T>(url: string, work: (store: ReleaseStore) => Promise<T>): Promise<T> {
  const store = openStore(url);
  try {
    return await work(store);
  } finally {
    store.close();
  }
}

function onServer(
  flags: RemoteFlags,
  address: string,
  work: RemoteWork,
  args: readonly string[],
): Promise<Printed> {
  // The service decides both: its settings have the gate, and it names itself in the history.
  for (const name of ['gate', 'by'] as const) {
    if (!(name in flags)) continue;
    throw invalidArgument('OPTIONS_CONFLICT', `--${name}`, 'cannot be given with --server');
  }
  return withClient(trainerAt(address), flags, (client, call) =>
    work({ client, call }, flags, ...args),
  );
}

function registerReading(releases: Command): void {
  command(
    releases,
    'list',
    'list the releases of the store',
    async (store) => {
      const { releases: found, damaged } = await listReleases(store);
      return { json: { releases: found, damaged }, text: describeList(found, damaged, store.url) };
    },
    remoteReleases.list,
  );
  command(
    releases,
    'show <release>',
    'print the manifest and the evaluation of a release',
    async (store, _: StoreFlags, name: string) => {
      const manifest = await store.manifest(await store.resolve(name));
      const { id, variant, preset, quantization, provenance, evaluation, files } = manifest;
      const facts: readonly (readonly string[])[] = [
        ['release', id],
        ['variant', `${variant}, preset ${preset.name}, quantization ${quantization}`],
        ['size', mebibytes(sizeOf(files))],
        [
          'created',
          `${provenance.createdAt}, in ${provenance.durationS} s, seed ${provenance.seed}`,
        ],
        ['dataset', `${provenance.dataset.name}, ${provenance.dataset.fingerprint}`],
        ['code', provenance.codeVersion],
        ['parent', provenance.parent ?? 'none'],
      ];
      const tables = Object.values(evaluation).map(
        ({ title, split, studies, model, baselines }) =>
          `\n${title} (${studies} studies of ${split})\n${describeRows({ model, ...baselines })}`,
      );
      return { json: manifest, text: printTable(facts) + tables.join('') };
    },
    remoteReleases.show,
  );
  command(
    releases,
    'verify <release>',
    'fetch a release and check every file against its digest',
    async (store, _: StoreFlags, name: string) => {
      const { manifest, folder } = await store.open(await store.resolve(name));
      const files = Object.keys(manifest.files).length;
      const text = `${manifest.id}: ${files} files, ${mebibytes(sizeOf(manifest.files))}, all as released\n`;
      return { json: { release: manifest.id, files, folder }, text };
    },
  );
  command(
    releases,
    'history <channel>',
    'print the changes of a channel, newest first',
    async (store, _: StoreFlags, channel: string) => {
      await store.channels.find(channel);
      const changes = await store.channels.history(channel);
      if (changes.length === 0) await store.channels.get(channel);
      return { json: { channel, changes }, text: describeHistory(changes) };
    },
  );
}

function registerMoving(releases: Command): void {
  command(
    releases,
    'promote <channel> <release>',
    'point a channel at a release, unless it is worse than the present one',
    async (store, flags: PromoteFlags, channel: string, name: string) => {
      const { expect, weight, by, gate = standardGate, force = false } = flags;
      const release = await store.resolve(name);
      const options = { gate, force, expectedGeneration: expect, weight, by };
      const state = await store.promote(channel, release, options);
      const part = weight === undefined ? '' : ` with ${100 * weight} % of its variant's requests`;
      const text = `${channel} serves ${release}${part}, generation ${state.generation}\n`;
      return { json: state, text };
    },
    remoteReleases.promote,
  )
    .option(
      '--weight <share>',
      "share of the variant's requests, 0 to 1; default: what other channels leave",
      share,
    )
    .option(
      '--gate <metrics>',
      `metrics on which the release must not be worse; default: ${standardGate.join(',')}`,
      nameList,
    )
    .option('--force', 'promote the release even if it is worse')
    .option('--expect <generation>', 'only if the channel is still at this generation', wholeNumber)
    .option('--by <name>', 'who moved the channel, for its history');
  command(
    releases,
    'rollback <channel>',
    'point a channel at the release that it pointed to before',
    async (store, { expect, by }: MoveFlags, channel: string) => {
      const state = await store.rollback(channel, { expectedGeneration: expect, by });
      const text = `${channel} serves ${state.release} again, generation ${state.generation}\n`;
      return { json: state, text };
    },
    remoteReleases.rollback,
  )
    .option('--expect <generation>', 'only if the channel is still at this generation', wholeNumber)
    .option('--by <name>', 'who moved the channel, for its history');
  command(
    releases,
    'close <channel>',
    'let a channel point to no release; rollback opens it again',
    async (store, { expect, by }: MoveFlags, channel: string) => {
      await store.channels.close(channel, { expectedGeneration: expect, by });
      return { json: { channel, release: null }, text: `${channel} serves no release\n` };
    },
  )
    .option('--expect <generation>', 'only if the channel is still at this generation', wholeNumber)
    .option('--by <name>', 'who moved the channel, for its history');
  command(
    releases,
    'tag <tag> <release>',
    'give a release a name; a tagged release is never removed',
    async (store, _: StoreFlags, tag: string, name: string) => {
      const release = await store.resolve(name);
      await store.tag(tag, release);
      return { json: { tag, release }, text: `${tag} is a tag of ${release}\n` };
    },
  );
  command(releases, 'untag <tag>', 'remove a tag', async (store, _: StoreFlags, tag: string) => {
    await store.untag(tag);
    return { json: { tag }, text: `${tag} is removed\n` };
  });
}

interface CollectFlags extends StoreFlags {
  readonly minAge: number;
  readonly keep: number;
  readonly dryRun?: true;
}

function registerKeeping(releases: Command): void {
  command(
    releases,
    'gc',
    'remove releases that no channel, tag or running service uses',
    async (store, { minAge, keep, dryRun }: CollectFlags) => {
      const options = { minAgeMs: minAge * 3_600_000, keepPerVariant: keep, dryRun };
      const collected = await collectGarbage(store, options);
      return {
        json: { dryRun: dryRun ?? false, ...collected },
        text: describeGc(collected, dryRun),
      };
    },
  )
    .option('--min-age <hours>', 'keep releases that are younger', wholeNumber, 24)
    .option('--keep <n>', 'keep this many of each variant, the newest', wholeNumber, 3)
    .option('--dry-run', 'print what would be removed, remove nothing');
  command(
    releases,
    'export <release> <folder>',
    'copy a release into an empty folder',
    async (store, _: StoreFlags, name: string, folder: string) => {
      const { id } = await exportRelease(store, await store.resolve(name), folder);
      return { json: { release: id, folder }, text: `${id} is in ${folder}\n` };
    },
  );
  command(
    releases,
    'import <folder>',
    'verify a release folder and publish it, or all release folders in a folder',
    async (store, _: StoreFlags, folder: string) => {
      const ids = await importRelease(store, folder);
      return { json: { releases: ids }, text: ids.map((id) => `${id} is published\n`).join('') };
    },
  );
}

interface QuantizeFlags extends StoreFlags {
  readonly data?: string;
  readonly studies?: number;
  readonly threads: number;
  readonly cache: string;
}

function registerQuantize(releases: Command): void {
  command(
    releases,
    'quantize <release>',
    'publish a copy of a release with 8-bit weights, and print how far the two agree',
    async (store, flags: QuantizeFlags, name: string) => {
      const release = await store.resolve(name);
      const { manifest, parent, agreement } = await quantizeRelease({ ...flags, store, release });
      const [before, after] = [parent, manifest].map(({ files }) => mebibytes(sizeOf(files)));
      const text = `${manifest.id} is published: ${after} instead of ${before}\n`;
      return {
        json: { release: manifest.id, parent: parent.id, agreement },
        text: `${text}${printAgreement(agreement)}\n`,
      };
    },
  )
    .option(
      '--data <place>',
      'evaluated on mimic:FOLDER, iu:FOLDER or phantom:N; default: the dataset of its training',
    )
    .option('--studies <n>', 'at most this many', count)
    .option('--threads <n>', 'ONNX Runtime threads; 0: all cores', wholeNumber, 0)
    .option('--cache <folder>', 'folder of prepared datasets', 'cache');
}
