import type { VariantName } from '../models/names.ts';
import type { ReleaseStore } from './store/store.ts';

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

/** Every release of a store, newest first. */
export async function listReleases(store: ReleaseStore): Promise<{
  readonly releases: readonly ListedRelease[];
  readonly damaged: readonly { readonly id: string; readonly message: string }[];
}> {
  const tags = await store.tags();
  const names = await store.channels.names();
  const states = await Promise.all(names.map((name) => store.channels.find(name)));
  const releases: ListedRelease[] = [];
  const damaged: { readonly id: string; readonly message: string }[] = [];
  let pageToken: string | undefined;
  do {
    const page = await store.list({ pageToken });
    damaged.push(...page.damaged);
    for (const { id, variant, preset, provenance, files } of page.releases) {
      releases.push({
        id,
        variant,
        preset: preset.name,
        createdAt: provenance.createdAt,
        bytes: Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0),
        channels: states.flatMap((state) => (state?.release === id ? [state.channel] : [])),
        tags: [...tags].flatMap(([tag, release]) => (release === id ? [tag] : [])),
      });
    }
    pageToken = page.nextPageToken;
  } while (pageToken !== undefined);
  releases.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
  return { releases, damaged };
}
