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
import type { StageCall, StudyImage } from './chain.ts';
import type { StudyRequest } from './release-plan.ts';
import type { ReleaseSelector } from './route.ts';
import type { View } from './views.ts';

/** A checked request for a report. */
export type ReportRequest = StudyRequest<DecodingOptions | null>;

const limits = {
  images: 8,
  /** Of one image, in bytes. */
  imageBytes: 64 * 1024 * 1024,
  /** Characters. */
  indication: 2000,
  name: 128,
} as const;

/** Letters, digits and separators: such a name is safe in a log line and in a header. */
const safeName = /^[\w.:@/+=-]*$/;
const releaseId = /^rs-[0-9a-f]{24}$/;

/**
 * Checks a request, except for the content of its images and the limits of the release.
 * `standardPriority` is for requests that state none.
 *
 * @throws {DomainError} INVALID_ARGUMENT naming the field by its proto path.
 */
export function readRequest(
  request: GenerateReportRequest,
  standardPriority: StageCall['priority'] = 'interactive',
): ReportRequest {
  const { requestId, images, indication, decoding, includeLabels } = request;
  checkName('request_id', requestId);
  if (images.length === 0 || images.length > limits.images) {
    const message = `got ${images.length} images, expected 1 to ${limits.images}`;
    throw invalidArgument('IMAGES_COUNT', 'images', message);
  }
  checkLength('indication', indication, limits.indication);
  return {
    requestId: requestId === '' ? randomUUID() : requestId,
    selector: readSelector(request),
    images: images.map(readImage),
    indication: indication.trim(),
    decoding: checkDecoding(decoding),
    priority: readPriority(request.priority, standardPriority),
    includeLabels,
  };
}

/** Throws INVALID_ARGUMENT for a name of more than 128 characters, or with a character that is not safe. */
export function checkName(field: string, name: string): void {
  checkLength(field, name, limits.name);
  if (safeName.test(name)) return;
  const message = 'expected letters, digits and . : @ / + = _ - only';
  throw invalidArgument('NAME_INVALID', field, message);
}

function checkLength(field: string, text: string, most: number): void {
  if (text.length <= most) return;
  const message = `got ${text.length} characters, expected at most ${most}`;
  throw invalidArgument('TEXT_TOO_LONG', field, message);
}

function readImage({ data, view }: Image, index: number): StudyImage {
  const field = `images[${index}]`;
  if (data.length === 0) {
    throw invalidArgument('IMAGE_EMPTY', `${field}.data`, 'got 0 bytes, expected an image');
  }
  if (data.length > limits.imageBytes) {
    const message = `got ${data.length} bytes, expected at most ${limits.imageBytes}`;
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

/** The view that a message names. */
export const viewOf = (name: ViewName): View | undefined => views[name];

function readPriority(
  priority: GenerateReportRequest['priority'],
  standard: StageCall['priority'],
): StageCall['priority'] {
  const meanings = {
    PRIORITY_UNSPECIFIED: standard,
    PRIORITY_INTERACTIVE: 'interactive',
    PRIORITY_BATCH: 'bulk',
  } as const;
  return lookUp(meanings, priority, 'priority');
}

/** An enum value that the schema does not know arrives as a number. */
function lookUp<Name extends string, T>(
  meanings: Readonly<Record<Name, T>>,
  name: Name,
  field: string,
): T {
  if (Object.hasOwn(meanings, name)) return meanings[name];
  const message = `got ${name}, expected one of ${Object.keys(meanings).join(', ')}`;
  throw invalidArgument('ENUM_UNKNOWN', field, message);
}

function readSelector({
  target,
  release,
  channel,
  variant,
}: GenerateReportRequest): ReleaseSelector {
  if (target === 'release' && !releaseId.test(release ?? '')) {
    throw invalidArgument('RELEASE_UNKNOWN', 'release', 'expected rs- and 24 hex digits');
  }
  const name = channel ?? variant ?? '';
  if (target !== undefined) checkName(target, name);
  return target === undefined ? {} : { [target]: { release, channel, variant }[target] };
}

/**
 * Checked here so that a typing error is reported before any model runs. The generator checks again, by
 * the limits and defaults of the release.
 */
function checkDecoding(decoding: DecodingOptions | null): DecodingOptions | null {
  if (decoding !== null) {
    parseDecodingOptions({ maxTokens: Number.MAX_SAFE_INTEGER, ...decodingInput(decoding) });
  }
  return decoding;
}
