import { type VariantName, variantNames } from '../models/names.ts';
import type { Manifest } from './manifest.ts';
import type { ReleasePage, ReleaseStore } from './store/store.ts';

/** A release of a list, and what names it. */
export interface ListedRelease {
  readonly id: string;
  readonly variant: VariantName;
  readonly preset: string;
  readonly createdAt: string;
  readonly bytes: number;
  readonly channels: readonly string[];
  readonly tags: readonly string[];
}

/** Every release of a store, newest first, and those whose manifest is damaged. */
export async function listReleases(store: ReleaseStore): Promise<{
  readonly releases: readonly ListedRelease[];
  readonly damaged: ReleasePage['damaged'];
}> {
  const tags = await store.tags();
  const names = await store.channels.names();
  const states = await Promise.all(names.map((name) => store.channels.find(name)));
  const { manifests, damaged } = await readAll(store);
  const releases = manifests.map(({ id, variant, preset, provenance, files }): ListedRelease => ({
    id,
    variant,
    preset: preset.name,
    createdAt: provenance.createdAt,
    bytes: Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0),
    channels: states.flatMap((state) => (state?.release === id ? [state.channel] : [])),
    tags: [...tags].flatMap(([tag, release]) => (release === id ? [tag] : [])),
  }));
  return { releases, damaged };
}

/** The newest release of each variant of a store, in the order of the paper. */
export async function newestReleases(store: ReleaseStore): Promise<readonly Manifest[]> {
  const { manifests } = await readAll(store);
  return variantNames.flatMap((name) => manifests.find(({ variant }) => variant === name) ?? []);
}

/** Newest first. */
async function readAll(store: ReleaseStore): Promise<{
  readonly manifests: readonly Manifest[];
  readonly damaged: ReleasePage['damaged'];
}> {
  const manifests: Manifest[] = [];
  const damaged: ReleasePage['damaged'][number][] = [];
  let pageToken: string | undefined;
  do {
    const page = await store.list({ pageToken });
    manifests.push(...page.releases);
    damaged.push(...page.damaged);
    pageToken = page.nextPageToken;
  } while (pageToken !== undefined);
  const madeAt = ({ provenance }: Manifest): number => Date.parse(provenance.createdAt);
  return { manifests: manifests.sort((a, b) => madeAt(b) - madeAt(a)), damaged };
}
