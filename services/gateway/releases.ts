import { DomainError, invalidArgument } from '../../lib/errors.ts';
import type {
  GetReleaseRequest,
  ListReleasesRequest,
  ListReleasesResponse,
  Release,
  Sent,
} from '../../lib/rpc/messages.ts';
import { isReleaseId, type Manifest } from '../../lib/releases/manifest.ts';
import type { ReleaseStore } from '../../lib/releases/store/store.ts';
import type { Catalogue } from './catalogue.ts';

const standardPageSize = 50;
const maxPageSize = 1000;

/** The releases of the store as callers see them. */
export class ReleaseList {
  readonly #store: ReleaseStore;
  readonly #catalogue: Catalogue;

  constructor(store: ReleaseStore, catalogue: Catalogue) {
    this.#store = store;
    this.#catalogue = catalogue;
  }

  async list({ pageSize, pageToken }: ListReleasesRequest): Promise<Sent<ListReleasesResponse>> {
    if (!Number.isInteger(pageSize) || pageSize < 0 || pageSize > maxPageSize) {
      const message = `got ${pageSize}, expected 1 to ${maxPageSize}, or 0 for ${standardPageSize}`;
      throw invalidArgument('PAGE_SIZE_INVALID', 'pageSize', message);
    }
    if (pageToken !== '' && !isReleaseId(pageToken)) {
      throw invalidArgument('PAGE_TOKEN_INVALID', 'pageToken', 'is not one of ours');
    }
    const page = await this.#store.list({
      pageSize: pageSize === 0 ? standardPageSize : pageSize,
      ...(pageToken !== '' && { pageToken }),
    });
    return {
      releases: page.releases.map((manifest) => this.#describe(manifest)),
      nextPageToken: page.nextPageToken ?? '',
    };
  }

  /** Throws INVALID_ARGUMENT for what is no name, NOT_FOUND. */
  async get(name: GetReleaseRequest['name']): Promise<Sent<Release>> {
    const id = name.replace(/^releases\//, '');
    if (id === name || !isReleaseId(id)) {
      throw invalidArgument(
        'RELEASE_NAME_INVALID',
        'name',
        'expected releases/rs- and 24 hex digits',
      );
    }
    try {
      return this.#describe(await this.#store.manifest(id));
    } catch (error) {
      if (!(error instanceof DomainError) || error.code !== 'NOT_FOUND') throw error;
      // The store's own words name its place.
      throw new DomainError('NOT_FOUND', 'RELEASE_NOT_FOUND', `there is no release ${id}`);
    }
  }

  #describe({ id, variant, preset, quantization, files, preprocessing }: Manifest): Sent<Release> {
    const targets = this.#catalogue.targets();
    const routes = targets.filter(({ release }) => release === id);
    const others = targets.filter((route) => route.variant === variant);
    const weighted = others.reduce((sum, { weight = 0 }) => sum + weight, 0);
    const first = others.find(({ weight }) => weight === undefined);
    const shares = routes.map((route) =>
      route === first ? Math.max(0, 1 - weighted) : (route.weight ?? 0),
    );
    return {
      name: `releases/${id}`,
      id,
      variant,
      preset: preset.name,
      state: this.#state(id, routes.length > 0),
      channels: routes.map(({ channel }) => channel),
      trafficShare: shares.reduce((sum, share) => sum + share, 0),
      quantisation: quantization,
      imageSize: preprocessing.width,
      maxReportTokens: preset.maxReportTokens,
      bytes: Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  #state(id: string, isTarget: boolean): Release['state'] {
    const answers = this.#catalogue.routes().some(({ release }) => release === id);
    if (answers && !this.#catalogue.isRefused(id)) return 'RELEASE_STATE_SERVING';
    return isTarget ? 'RELEASE_STATE_LOADING' : 'RELEASE_STATE_STORED';
  }
}
