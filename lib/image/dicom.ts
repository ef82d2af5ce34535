import { inflateRawSync } from 'node:zlib';
import dicomParser from 'dicom-parser';
import type { DataSet, Element } from 'dicom-parser';
import { codecs } from './codecs.ts';
import type { DecodedImage, View } from './decoded.ts';
import { corrupt } from './jpeg-header.ts';
import { readGreyTransform } from './dicom-grey.ts';
import { toGrey } from './grey.ts';
import { checkPixels, ImageRefused } from './limits.ts';
import type { ImageLimits } from './limits.ts';

/** Projection radiography; DR is what some vendors write for DX, RG is digitized film. */
const modalities = ['CR', 'DX', 'DR', 'RG'];
const chest = /CHEST|THORAX|LUNG/;

/**
 * Decodes a DICOM Part 10 file with one grey chest radiograph. Reads only the attributes that the image
 * needs, and no name, date or identifier.
 *
 * @throws {ImageRefused} Or any error of the parser and the codecs on damaged data.
 */
export async function decodeDicom(bytes: Uint8Array, limits: ImageLimits): Promise<DecodedImage> {
  const { data, file } = parse(bytes, limits);
  const transferSyntax = code(data, 'x00020010');
  const codec = codecs[transferSyntax];
  if (codec === undefined) {
    throw new ImageRefused(
      'DICOM_TRANSFER_SYNTAX_UNSUPPORTED',
      `transfer syntax ${transferSyntax || '(none)'} is not one of ${Object.keys(codecs).join(', ')}`,
    );
  }
  checkKind(data);
  const rows = required(data, 'x00280010', 'Rows');
  const columns = required(data, 'x00280011', 'Columns');
  checkPixels(columns, rows, limits);
  const transform = readGreyTransform(data);
  const bitsAllocated = transform.bitsAllocated;
  const element = data.elements[pixelData];
  if (element === undefined) throw new ImageRefused('DICOM_PIXEL_DATA_MISSING', 'no pixel data');
  // Words are swapped in big endian, bytes are not (PS3.5 section 7.3 and annex A.3).
  const swapped = transferSyntax === explicitBigEndian && element.vr === 'OW';
  const layout = { rows, columns, bitsAllocated, bigEndian: swapped };
  const { cells, cellBits } = await codec(frameOf(file, element), layout, limits);
  return {
    width: columns,
    height: rows,
    pixels: toGrey(cells, cellBits, transform),
    format: 'dicom',
    bitsStored: transform.bitsStored,
    view: readView(data),
    laterality: readLaterality(data),
  };
}

const pixelData = 'x7fe00010';
const explicitBigEndian = '1.2.840.10008.1.2.2';

/**
 * The last byte of the file at which the pixel data may begin. The parser makes an object of 200 bytes
 * from every element of 8 bytes: a file of elements only would exhaust the heap, which ends the process.
 */
const maxHeaderBytes = 4 * 1024 * 1024;

/** The data set before the pixel data, with the pixel data's header; and the file, inflated. */
function parse(bytes: Uint8Array, limits: ImageLimits): { data: DataSet; file: Uint8Array } {
  // Two bytes a pixel, and as much again for everything else in the file.
  const maxOutputLength = 4 * limits.maxPixels;
  let file = bytes;
  try {
    const data = dicomParser.parseDicom(bytes.subarray(0, maxHeaderBytes), {
      untilTag: pixelData,
      inflater: (_: Uint8Array, position: number) => {
        const rest = inflateRawSync(bytes.subarray(position), { maxOutputLength });
        file = Buffer.concat([bytes.subarray(0, position), rest]);
        return file.subarray(0, maxHeaderBytes);
      },
    });
    return { data, file };
  } catch (thrown) {
    if ((thrown as { code?: unknown } | undefined)?.code === 'ERR_BUFFER_TOO_LARGE') {
      throw new ImageRefused(
        'IMAGE_TOO_LARGE',
        `the deflated data set expands to more than ${maxOutputLength} bytes`,
      );
    }
    throw new ImageRefused(
      'DICOM_MALFORMED',
      `expected DICOM Part 10 whose pixel data begins within ${maxHeaderBytes} bytes; its elements cannot be read`,
    );
  }
}

/** Refuses everything but a single grey projection radiograph of a chest. */
function checkKind(data: DataSet): void {
  const modality = code(data, 'x00080060');
  if (!modalities.includes(modality)) {
    throw new ImageRefused(
      'DICOM_MODALITY_UNSUPPORTED',
      `modality ${modality || '(none)'}; expected one of ${modalities.join(', ')}`,
    );
  }
  const bodyPart = code(data, 'x00180015');
  if (bodyPart !== '' && !chest.test(bodyPart)) {
    throw new ImageRefused(
      'DICOM_BODY_PART_UNSUPPORTED',
      `body part examined ${bodyPart}; expected CHEST`,
    );
  }
  const frames = data.intString('x00280008') ?? 1;
  if (frames > 1) {
    throw new ImageRefused('DICOM_MULTI_FRAME', `${frames} frames; expected a single one`);
  }
  const photometric = code(data, 'x00280004');
  const samples = data.uint16('x00280002') ?? 1;
  if (samples !== 1 || !/^MONOCHROME[12]$/.test(photometric)) {
    throw new ImageRefused(
      'DICOM_PHOTOMETRIC_UNSUPPORTED',
      `photometric interpretation ${photometric || '(none)'} with ${samples} samples a pixel; expected MONOCHROME1 or MONOCHROME2 with 1`,
    );
  }
}

/** The one frame: native bytes, or the fragments in a row (PS3.5 annex A.4). */
function frameOf(file: Uint8Array, { dataOffset, length }: Element): Uint8Array {
  const undefinedLength = 0xffffffff;
  if (length !== undefinedLength) return file.subarray(dataOffset, dataOffset + length);
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const frame = Buffer.alloc(file.length - dataOffset);
  let used = 0;
  // The first item is the offset table, which a single frame does not need.
  for (let at = dataOffset, item = 0; ; item++) {
    if (at + 8 > file.length) throw corrupt('the pixel data ends early');
    const tag = view.getUint32(at, true);
    if (tag === 0xe0ddfffe) return frame.subarray(0, used);
    const end = at + 8 + view.getUint32(at + 4, true);
    if (tag !== 0xe000fffe || end > file.length) throw corrupt('a pixel data item is damaged');
    if (item > 0) {
      frame.set(file.subarray(at + 8, end), used);
      used += end - at - 8;
    }
    at = end;
  }
}

/** A code string or UID in upper case; another value is not repeated, because it may hold anything. */
function code(data: DataSet, tag: string): string {
  const text = (data.string(tag) ?? '').trim().toUpperCase();
  return /^[A-Z0-9 ._,/&+-]{0,64}$/.test(text) ? text : '(unreadable)';
}

function required(data: DataSet, tag: string, name: string): number {
  const value = data.uint16(tag);
  if (value === undefined) {
    throw new ImageRefused('DICOM_ATTRIBUTE_MISSING', `the attribute ${name} is missing`);
  }
  return value;
}

/** View Position, or else the meaning of the View Code Sequence's code. */
function readView(data: DataSet): View | undefined {
  const words = code(data, 'x00185101').split(/[ _-]+/);
  if (words.some((word) => ['LATERAL', 'LAT', 'LL', 'RL'].includes(word))) return 'LATERAL';
  if (words.includes('PA')) return 'PA';
  if (words.includes('AP')) return 'AP';
  const item = data.elements['x00540220']?.items?.[0]?.dataSet;
  const meaning = item === undefined ? '' : code(item, 'x00080104');
  if (meaning.startsWith('POSTERO-ANTERIOR')) return 'PA';
  if (meaning.startsWith('ANTERO-POSTERIOR')) return 'AP';
  return meaning.includes('LATERAL') ? 'LATERAL' : undefined;
}

function readLaterality(data: DataSet): 'L' | 'R' | undefined {
  const value = code(data, 'x00200062') || code(data, 'x00200060');
  return value === 'L' || value === 'R' ? value : undefined;
}
