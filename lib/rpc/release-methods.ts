import { DomainError, invalidArgument } from '../errors.ts';
import { type Manifest, isReleaseId } from '../releases/manifest.ts';
import type { ReleaseStore } from '../releases/store/store.ts';
import type {
  GetReleaseRequest,
  ListReleasesRequest,
  ListReleasesResponse,
  Release,
  Sent,
} from './messages.ts';

/** What a service knows of a release beyond its manifest. */
export type ReleaseUse = Pick<Release, 'state' | 'channels' | 'trafficShare'>;

/** ListReleases and GetRelease, which several services have. */
export interface ReleaseMethods {
  list(request: ListReleasesRequest): Promise<Sent<ListReleasesResponse>>;
  get(request: GetReleaseRequest): Promise<Sent<Release>>;
}

/**
 * Both methods over a store. `readUse` is called once per request and gives the use of each release.
 * They throw INVALID_ARGUMENT, and NOT_FOUND for a release that the store does not hold.
 */
export function releaseMethods(
  store: ReleaseStore,
  readUse: () => Promise<(manifest: Manifest) => ReleaseUse>,
): ReleaseMethods {
  return {
    list: async ({ pageSize, pageToken }) => {
      if (pageToken !== '' && !isReleaseId(pageToken)) {
        throw invalidArgument(
          'PAGE_TOKEN_INVALID',
          'page_token',
          'was not returned by a list call',
        );
      }
      const page = await store.list({
        pageSize: pageSizeOf(pageSize),
        ...(pageToken !== '' && { pageToken }),
      });
      const useOf = await readUse();
      return {
        releases: page.releases.map((manifest) => releaseMessage(manifest, useOf(manifest))),
        nextPageToken: page.nextPageToken ?? '',
      };
    },
    get: async ({ name }) => {
      const manifest = await find(store, releaseIdIn(name));
      return releaseMessage(manifest, (await readUse())(manifest));
    },
  };
}

const standardPageSize = 50;
const maxPageSize = 1000;

/** The page size of a list request; 0 gives the default. Throws INVALID_ARGUMENT. */
export function pageSizeOf(pageSize: number): number {
  if (Number.isInteger(pageSize) && pageSize >= 0 && pageSize <= maxPageSize) {
    return pageSize === 0 ? standardPageSize : pageSize;
  }
  const message = `got ${pageSize}, expected 1 to ${maxPageSize}, or 0 for ${standardPageSize}`;
  throw invalidArgument('PAGE_SIZE_INVALID', 'page_size', message);
}

/** The id in a resource name, `releases/{id}`. Throws INVALID_ARGUMENT. */
export function releaseIdIn(name: string): string {
  const id = name.replace(/^releases\//, '');
  if (id !== name && isReleaseId(id)) return id;
  const message = 'expected releases/rs- and 24 hex digits';
  throw invalidArgument('RELEASE_NAME_INVALID', 'name', message);
}

/** The message of the store's own NOT_FOUND names its address, which callers need not know. */
async function find(store: ReleaseStore, id: string): Promise<Manifest> {
  try {
    return await store.manifest(id);
  } catch (error) {
    if (!(error instanceof DomainError) || error.code !== 'NOT_FOUND') throw error;
    throw new DomainError('NOT_FOUND', 'RELEASE_NOT_FOUND', `there is no release ${id}`);
  }
}

function releaseMessage(
  { id, variant, preset, quantization, preprocessing, files }: Manifest,
  use: ReleaseUse,
): Sent<Release> {
  return {
    name: `releases/${id}`,
    id,
    variant,
    preset: preset.name,
    quantization,
    imageSize: preprocessing.width,
    maxReportTokens: preset.maxReportTokens,
    bytes: Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0),
    ...use,
  };
}
