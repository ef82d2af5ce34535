import { type Command, InvalidArgumentError } from 'commander';
import type { MetricRow } from '../../lib/releases/manifest.ts';
import { exportRelease, importRelease } from '../../lib/releases/store/archive.ts';
import type { ChannelChange } from '../../lib/releases/store/channels.ts';
import { type Collected, collectGarbage } from '../../lib/releases/store/collect.ts';
import { openStore } from '../../lib/releases/store/open.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import { standardGate } from '../../lib/releases/gate.ts';
import { printAgreement } from '../../lib/runtime/decode/agreement.ts';
import { quantizeRelease } from '../../lib/training/quantize.ts';
import { printTable } from '../table.ts';
import { type ListedRelease, listReleases } from '../../lib/releases/list.ts';

interface Shared {
  readonly store: string;
  readonly json?: true;
}

interface MoveFlags extends Shared {
  readonly expect?: number;
  readonly by?: string;
}

interface PromoteFlags extends MoveFlags {
  readonly weight?: number;
  readonly gate: readonly string[];
  readonly force?: true;
}

/** `radscribe releases …`: what the store holds, and which release each channel serves. */
export function registerReleases(program: Command): void {
  const releases = program
    .command('releases')
    .description('list, check, promote, roll back and clear away releases')
    .addHelpText(
      'after',
      `
A store is a folder or a URL: file:///srv/releases, s3://bucket/prefix?region=eu-central-1, or for an
S3-compatible store s3://bucket/prefix?endpoint=http://host:9000. Credentials come from where the AWS
SDK looks for them. RELEASE is an id, a tag or a channel.

Examples:
  radscribe releases list --store file:///srv/releases
  radscribe releases promote stable rs-0123456789abcdef01234567 --store s3://models/radscribe
  radscribe releases promote canary v2 --weight 0.05
  radscribe releases rollback stable
  radscribe releases gc --dry-run`,
    );
  registerReading(releases);
  registerMoving(releases);
  registerKeeping(releases);
  registerQuantise(releases);
}

/** A subcommand on a store: `work` gives what is printed, as JSON or in words. */
function command(
  parent: Command,
  usage: string,
  description: string,
  work: (store: ReleaseStore, flags: never, ...args: never[]) => Promise<Printed>,
): Command {
  return parent
    .command(usage)
    .description(description)
    .option('--store <url>', 'a folder, file:///… or s3://…', 'releases')
    .option('--json', 'print JSON')
    .action(async (...given: readonly unknown[]) => {
      const flags = given.at(-2) as Shared;
      const store = openStore(flags.store);
      try {
        const { json, text } = await work(
          store,
          flags as never,
          ...(given.slice(0, -2) as never[]),
        );
        process.stdout.write(flags.json ? `${JSON.stringify(json)}\n` : text);
      } finally {
        store.close();
      }
    });
}

interface Printed {
  readonly json: unknown;
  readonly text: string;
}

function registerReading(releases: Command): void {
  command(releases, 'list', 'list the releases of the store', async (store) => {
    const { releases: found, damaged } = await listReleases(store);
    return { json: { releases: found, damaged }, text: describeList(found, damaged, store.url) };
  });
  command(
    releases,
    'show <release>',
    'print the manifest and the evaluation of a release',
    async (store, _: Shared, name: string) => {
      const manifest = await store.manifest(await store.resolve(name));
      const { id, variant, preset, quantization, provenance, evaluation, files } = manifest;
      const facts: readonly (readonly string[])[] = [
        ['release', id],
        ['variant', `${variant}, preset ${preset.name}, quantization ${quantization}`],
        ['size', mebibytes(sizeOf(files))],
        ['made', `${provenance.createdAt}, in ${provenance.durationS} s, seed ${provenance.seed}`],
        ['dataset', `${provenance.dataset.name}, ${provenance.dataset.fingerprint}`],
        ['code', provenance.codeVersion],
        ['parent', provenance.parent ?? 'none'],
      ];
      const tables = Object.values(evaluation).map(
        ({ title, split, studies, model, baselines }) =>
          `\n${title} (${studies} studies of ${split})\n${describeRows({ model, ...baselines })}`,
      );
      const text = facts.map(([name = '', value = '']) => `${name.padEnd(8)} ${value}\n`).join('');
      return { json: manifest, text: text + tables.join('') };
    },
  );
  command(
    releases,
    'verify <release>',
    'fetch a release and check every file against its digest',
    async (store, _: Shared, name: string) => {
      const { manifest, folder } = await store.open(await store.resolve(name));
      const files = Object.keys(manifest.files).length;
      const text = `${manifest.id}: ${files} files, ${mebibytes(sizeOf(manifest.files))}, all as released\n`;
      return { json: { release: manifest.id, files, folder }, text };
    },
  );
  command(
    releases,
    'history <channel>',
    'print how a channel was moved, newest first',
    async (store, _: Shared, channel: string) => {
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
    "point a channel at a release, unless it is worse than the channel's",
    async (store, flags: PromoteFlags, channel: string, name: string) => {
      const { expect, weight, by, gate, force = false } = flags;
      const release = await store.resolve(name);
      const options = { gate, force, expectedGeneration: expect, weight, by };
      const state = await store.promote(channel, release, options);
      const share = weight === undefined ? '' : ` with ${100 * weight} % of its variant's requests`;
      const text = `${channel} serves ${release}${share}, generation ${state.generation}\n`;
      return { json: state, text };
    },
  )
    .option(
      '--weight <share>',
      "share of the variant's requests, 0 to 1; without it, the rest",
      share,
    )
    .option('--gate <metrics>', 'what may not get worse', names, standardGate)
    .option('--force', 'promote it even if it is worse')
    .option('--expect <generation>', 'only if the channel is still at this generation', whole)
    .option('--by <who>', 'for the history');
  command(
    releases,
    'rollback <channel>',
    'point a channel at the release that it pointed to before',
    async (store, { expect, by }: MoveFlags, channel: string) => {
      const state = await store.rollback(channel, { expectedGeneration: expect, by });
      const text = `${channel} serves ${state.release} again, generation ${state.generation}\n`;
      return { json: state, text };
    },
  )
    .option('--expect <generation>', 'only if the channel is still at this generation', whole)
    .option('--by <who>', 'for the history');
  command(
    releases,
    'close <channel>',
    'let a channel point to nothing; rollback opens it again',
    async (store, { expect, by }: MoveFlags, channel: string) => {
      await store.channels.close(channel, { expectedGeneration: expect, by });
      return { json: { channel, release: null }, text: `${channel} serves nothing\n` };
    },
  )
    .option('--expect <generation>', 'only if the channel is still at this generation', whole)
    .option('--by <who>', 'for the history');
  command(
    releases,
    'tag <tag> <release>',
    'name a release for good, which also keeps it from being cleared away',
    async (store, _: Shared, tag: string, name: string) => {
      const release = await store.resolve(name);
      await store.tag(tag, release);
      return { json: { tag, release }, text: `${tag} names ${release}\n` };
    },
  );
  command(releases, 'untag <tag>', 'remove a tag', async (store, _: Shared, tag: string) => {
    await store.untag(tag);
    return { json: { tag }, text: `${tag} is removed\n` };
  });
}

interface CollectFlags extends Shared {
  readonly minAge: number;
  readonly keep: number;
  readonly dryRun?: true;
}

function registerKeeping(releases: Command): void {
  command(
    releases,
    'gc',
    'remove releases that no channel, tag or running service names',
    async (store, { minAge, keep, dryRun }: CollectFlags) => {
      const options = { minAgeMs: minAge * 3_600_000, keepPerVariant: keep, dryRun };
      const collected = await collectGarbage(store, options);
      return {
        json: { dryRun: dryRun ?? false, ...collected },
        text: describeGc(collected, dryRun),
      };
    },
  )
    .option('--min-age <hours>', 'keep what was published since', whole, 24)
    .option('--keep <n>', 'keep the newest of each variant', whole, 3)
    .option('--dry-run', 'say what would be removed, remove nothing');
  command(
    releases,
    'export <release> <folder>',
    'copy a release into an empty folder',
    async (store, _: Shared, name: string, folder: string) => {
      const { id } = await exportRelease(store, await store.resolve(name), folder);
      return { json: { release: id, folder }, text: `${id} is in ${folder}\n` };
    },
  );
  command(
    releases,
    'import <folder>',
    'check a release folder and publish it, or all the releases of a folder of them',
    async (store, _: Shared, folder: string) => {
      const ids = await importRelease(store, folder);
      return { json: { releases: ids }, text: ids.map((id) => `${id} is published\n`).join('') };
    },
  );
}

interface QuantiseFlags extends Shared {
  readonly data?: string;
  readonly studies?: number;
  readonly threads: number;
  readonly cache: string;
}

function registerQuantise(releases: Command): void {
  command(
    releases,
    'quantise <release>',
    'publish a release again with 8-bit weights, and say what that costs',
    async (store, flags: QuantiseFlags, name: string) => {
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
      'judged on mimic:FOLDER, iu:FOLDER or phantom:N; unless told, as before',
    )
    .option('--studies <n>', 'at most so many', whole)
    .option('--threads <n>', 'of the engine; 0 takes all cores', whole, 0)
    .option('--cache <folder>', 'keeps prepared datasets', 'cache');
}

const sizeOf = (files: Readonly<Record<string, { readonly bytes: number }>>): number =>
  Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function describeList(
  releases: readonly ListedRelease[],
  damaged: readonly { readonly id: string; readonly message: string }[],
  url: string,
): string {
  if (releases.length + damaged.length === 0) return `${url} holds no releases\n`;
  const rows = releases.map(({ id, variant, preset, createdAt, bytes, channels, tags }) => {
    const names = [...channels, ...tags.map((tag) => `tag ${tag}`)].join(', ');
    return [id, variant, preset, createdAt.slice(0, 16), mebibytes(bytes), names];
  });
  const table = printTable(['release', 'variant', 'preset', 'made', 'size', 'named by'], rows);
  return table + damaged.map(({ message }) => `damaged: ${message}\n`).join('');
}

function describeRows(rows: Readonly<Record<string, MetricRow>>): string {
  const names = [...new Set(Object.values(rows).flatMap(({ metrics }) => Object.keys(metrics)))];
  return printTable(
    ['metric', ...Object.keys(rows)],
    names.map((name) =>
      [name].concat(
        Object.values(rows).map(({ metrics, intervals }) => {
          const value = metrics[name]?.toFixed(3) ?? '-';
          const interval = intervals?.[name]?.map((bound) => bound.toFixed(3)).join('..');
          return interval === undefined ? value : `${value} (${interval})`;
        }),
      ),
    ),
  );
}

function describeHistory(changes: readonly ChannelChange[]): string {
  return printTable(
    ['generation', 'when', 'change', 'release', 'weight', 'by'],
    changes.map(({ generation, updatedAt, change, release, weight, by }) => [
      generation,
      updatedAt.slice(0, 19),
      change,
      release ?? '-',
      weight === undefined ? '-' : String(weight),
      by ?? '-',
    ]),
  );
}

function describeGc({ removed, kept, unfinished }: Collected, dryRun: boolean | undefined): string {
  const verb = dryRun ? 'would be removed' : 'removed';
  const bytes = removed.reduce((sum, release) => sum + release.bytes, 0);
  return [
    ...kept.map(({ release, why }) => `${release}  kept: ${why}`),
    ...removed.map((release) => `${release.release}  ${verb}: ${mebibytes(release.bytes)}`),
    ...unfinished.map((id) => `${id}  ${verb}: was never published whole`),
    `${removed.length + unfinished.length} ${verb} (${mebibytes(bytes)}), ${kept.length} kept`,
    '',
  ].join('\n');
}

const names = (text: string): string[] => text.split(',').map((name) => name.trim());

function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1)) {
    throw new InvalidArgumentError('Expected a number from 0 to 1.');
  }
  return value;
}

function whole(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}
