import type { DataSet } from 'dicom-parser';
import { modalityValue } from './grey.ts';
import type { GreyTransform, LookupTable, Rescale, Window } from './grey.ts';
import { ImageRefused } from './limits.ts';

/** Reads from a DICOM data set how stored values become grey. */
export function readGreyTransform(data: DataSet): GreyTransform & { bitsAllocated: 8 | 16 } {
  const bitsAllocated = data.uint16('x00280100');
  const bitsStored = data.uint16('x00280101') ?? bitsAllocated ?? 0;
  const highBit = data.uint16('x00280102') ?? bitsStored - 1;
  const signed = data.uint16('x00280103') === 1;
  if (
    (bitsAllocated !== 8 && bitsAllocated !== 16) ||
    bitsStored < 1 ||
    highBit < bitsStored - 1 ||
    highBit >= bitsAllocated
  ) {
    throw new ImageRefused(
      'DICOM_PIXEL_FORMAT_UNSUPPORTED',
      `${bitsAllocated ?? 'no'} bits allocated, ${bitsStored} stored, high bit ${highBit}; expected 8 or 16 allocated that contain the stored bits`,
    );
  }
  const modality = readModality(data, signed);
  return {
    bitsAllocated,
    bitsStored,
    highBit,
    signed,
    inverted: data.string('x00280004')?.trim().toUpperCase() === 'MONOCHROME1',
    padding: readPadding(data, signed),
    modality,
    voi: readVoi(data, smallestValue(modality, signed ? -(2 ** (bitsStored - 1)) : 0, bitsStored)),
  };
}

function readPadding(data: DataSet, signed: boolean): GreyTransform['padding'] {
  const value = (tag: string) => (signed ? data.int16(tag) : data.uint16(tag));
  const padding = value('x00280120');
  if (padding === undefined) return undefined;
  const limit = value('x00280121') ?? padding;
  return { low: Math.min(padding, limit), high: Math.max(padding, limit) };
}

function readModality(data: DataSet, signed: boolean): LookupTable | Rescale {
  const table = readTable(data, 'x00283000', signed);
  if (table !== undefined) return table;
  const slope = data.floatString('x00281053') ?? 1;
  const intercept = data.floatString('x00281052') ?? 0;
  if (!Number.isFinite(intercept) || !Number.isFinite(slope) || slope === 0) {
    throw invalid('Rescale Slope and Intercept', 'finite numbers, the slope not 0');
  }
  return { kind: 'rescale', slope, intercept };
}

function smallestValue(modality: LookupTable | Rescale, lowest: number, bitsStored: number) {
  if (modality.kind === 'table') return 0;
  const highest = lowest + 2 ** bitsStored - 1;
  return Math.min(modalityValue(modality, lowest), modalityValue(modality, highest));
}

/** The table if the file has both; a window that PS3.3 C.11.2.1.2 does not allow is ignored. */
function readVoi(data: DataSet, smallest: number): LookupTable | Window | undefined {
  const table = readTable(data, 'x00283010', smallest < 0);
  if (table !== undefined) return table;
  const center = data.floatString('x00281050');
  const width = data.floatString('x00281051');
  if (center === undefined || width === undefined || !Number.isFinite(center)) return undefined;
  const named = data.string('x00281056')?.trim().toUpperCase() || 'LINEAR';
  if (named !== 'LINEAR' && named !== 'LINEAR_EXACT' && named !== 'SIGMOID') {
    throw invalid('VOI LUT Function', 'LINEAR, LINEAR_EXACT or SIGMOID');
  }
  const valid = Number.isFinite(width) && (named === 'LINEAR' ? width >= 1 : width > 0);
  return valid ? { kind: named, center, width } : undefined;
}

/** The first item of a LUT sequence (PS3.3 C.11.1.1.1): descriptor and data. */
function readTable(data: DataSet, sequence: string, signed: boolean): LookupTable | undefined {
  const item = data.elements[sequence]?.items?.[0]?.dataSet;
  if (item === undefined) return undefined;
  const count = item.uint16('x00283002', 0);
  const bits = item.uint16('x00283002', 2);
  const element = item.elements['x00283006'];
  const signedFirst =
    element !== undefined && (item.elements['x00283002']?.vr ?? (signed ? 'SS' : 'US')) === 'SS';
  const first = signedFirst ? item.int16('x00283002', 1) : item.uint16('x00283002', 1);
  if (count === undefined || first === undefined || element === undefined) {
    throw invalid('LUT Descriptor and LUT Data', 'three values and a table');
  }
  // 65536 entries do not fit the attribute and are written as 0.
  const length = count === 0 ? 65536 : count;
  const packed = element.length === length;
  if (bits === undefined || bits < 1 || bits > 16 || (!packed && element.length < 2 * length)) {
    throw invalid('LUT Descriptor', 'as many entries as LUT Data holds, of 1 to 16 bits');
  }
  const at = element.dataOffset;
  const entries = packed
    ? item.byteArray.slice(at, at + length)
    : Uint16Array.from({ length }, (_, index) =>
        item.byteArrayParser.readUint16(item.byteArray, at + 2 * index),
      );
  return { kind: 'table', first, entries, bits };
}

function invalid(name: string, expected: string): ImageRefused {
  return new ImageRefused('DICOM_ATTRIBUTE_INVALID', `${name} is invalid; expected ${expected}`);
}
