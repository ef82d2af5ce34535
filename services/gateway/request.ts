import { randomUUID } from 'node:crypto';
import { invalidArgument } from '../../lib/errors.ts';
import { decodingInput } from '../../lib/rpc/decoding.ts';
import type {
  DecodingOptions,
  GenerateReportRequest,
  Image,
  View as ViewName,
} from '../../lib/rpc/messages.ts';
import { parseDecodingOptions } from '../../lib/releases/decoding.ts';
import type { Hop, Study, StudyImage } from './chain.ts';
import type { Wish } from './route.ts';
import type { View } from './views.ts';

/** A request for a report that can be worked on. */
export interface Ask extends Study<DecodingOptions | null> {
  readonly requestId: string;
  readonly wish: Wish;
  readonly priority: Hop['priority'];
}

const limits = {
  images: 8,
  /** Of one picture, in bytes. */
  imageBytes: 64 * 1024 * 1024,
  /** Characters. */
  indication: 2000,
  name: 128,
} as const;

/** Letters, digits and what separates them: such a name may stand in a log and a header. */
const safeName = /^[\w.:@/+=-]*$/;
const releaseId = /^rs-[0-9a-f]{24}$/;

/**
 * Checks a request, all but its pictures' content and what only the release can tell.
 *
 * @throws {DomainError} INVALID_ARGUMENT naming the field.
 */
export function readRequest(
  request: GenerateReportRequest,
  unstated: Hop['priority'] = 'interactive',
): Ask {
  const { requestId, images, indication, decoding, includeLabels } = request;
  checkName('requestId', requestId);
  if (images.length === 0 || images.length > limits.images) {
    const message = `got ${images.length} images, expected 1 to ${limits.images}`;
    throw invalidArgument('IMAGES_COUNT', 'images', message);
  }
  checkLength('indication', indication, limits.indication);
  return {
    requestId: requestId === '' ? randomUUID() : requestId,
    wish: readWish(request),
    images: images.map(readImage),
    indication: indication.trim(),
    decoding: checkDecoding(decoding),
    priority: readPriority(request.priority, unstated),
    includeLabels,
  };
}

/** Throws INVALID_ARGUMENT for a name over 128 characters, or with others than it may have. */
export function checkName(field: string, name: string): void {
  checkLength(field, name, limits.name);
  if (safeName.test(name)) return;
  const message = 'expected letters, digits and . : @ / + = _ - only';
  throw invalidArgument('NAME_INVALID', field, message);
}

function checkLength(field: string, text: string, most: number): void {
  if (text.length <= most) return;
  const message = `got ${text.length} characters, at most ${most} are taken`;
  throw invalidArgument('TEXT_TOO_LONG', field, message);
}

function readImage({ data, view }: Image, index: number): StudyImage {
  const field = `images[${index}]`;
  if (data.length === 0) {
    throw invalidArgument('IMAGE_EMPTY', `${field}.data`, 'got 0 bytes, expected a picture');
  }
  if (data.length > limits.imageBytes) {
    const message = `${data.length} bytes came; at most ${limits.imageBytes} are accepted`;
    throw invalidArgument('IMAGE_TOO_LARGE', `${field}.data`, message);
  }
  return { data, view: lookUp(views, view, `${field}.view`) };
}

const views: Readonly<Record<ViewName, View | undefined>> = {
  VIEW_UNSPECIFIED: undefined,
  VIEW_PA: 'PA',
  VIEW_AP: 'AP',
  VIEW_LATERAL: 'LATERAL',
};

/** From the view that a service states. */
export const viewOf = (name: ViewName): View | undefined => views[name];

function readPriority(
  priority: GenerateReportRequest['priority'],
  unstated: Hop['priority'],
): Hop['priority'] {
  const meanings = {
    PRIORITY_UNSPECIFIED: unstated,
    PRIORITY_INTERACTIVE: 'interactive',
    PRIORITY_BATCH: 'batch',
  } as const;
  return lookUp(meanings, priority, 'priority');
}

/** A number that the schema does not know comes as itself. */
function lookUp<Name extends string, T>(
  meanings: Readonly<Record<Name, T>>,
  name: Name,
  field: string,
): T {
  if (Object.hasOwn(meanings, name)) return meanings[name];
  const message = `got ${name}, expected one of ${Object.keys(meanings).join(', ')}`;
  throw invalidArgument('ENUM_UNKNOWN', field, message);
}

function readWish({ target, release, channel, variant }: GenerateReportRequest): Wish {
  if (target === 'release' && !releaseId.test(release ?? '')) {
    throw invalidArgument('RELEASE_UNKNOWN', 'release', 'expected rs- and 24 hex digits');
  }
  const name = channel ?? variant ?? '';
  if (target !== undefined) checkName(target, name);
  return target === undefined ? {} : { [target]: { release, channel, variant }[target] };
}

/**
 * Here, so that nobody waits for a vision run to learn of a typing error. The generator checks again,
 * by the limits and defaults of its release.
 */
function checkDecoding(decoding: DecodingOptions | null): DecodingOptions | null {
  if (decoding !== null) {
    parseDecodingOptions({ maxTokens: Number.MAX_SAFE_INTEGER, ...decodingInput(decoding) });
  }
  return decoding;
}
