/**
 * From stored DICOM samples to grey, as PS3.3 C.11 (look-up tables and windows), C.7.6.3 (pixel
 * representation, photometric interpretation) and C.7.5.1.1.2 (padding) define it:
 * stored value -> modality LUT or rescale -> VOI LUT or window -> 0..1 -> inverted if MONOCHROME1.
 * All of it is a function of the stored value, so it is computed once for each value.
 */
export interface GreyTransform {
  readonly bitsStored: number;
  readonly highBit: number;
  readonly signed: boolean;
  readonly inverted: boolean;
  /** Stored values that are not exposure, e.g. outside the collimator; shown black. */
  readonly padding: { readonly low: number; readonly high: number } | undefined;
  readonly modality: LookupTable | Rescale;
  /** The first one in the file; undefined: `automaticWindow`. */
  readonly voi: LookupTable | Window | undefined;
}

export interface LookupTable {
  readonly kind: 'table';
  /** The input value of the first entry. */
  readonly first: number;
  readonly entries: Uint16Array | Uint8Array;
  readonly bits: number;
}

export interface Rescale {
  readonly kind: 'rescale';
  readonly slope: number;
  readonly intercept: number;
}

export interface Window {
  readonly kind: 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID';
  readonly center: number;
  readonly width: number;
}

/**
 * Grey 0..65535 for every cell.
 * @param cellBits how many low bits of a cell its codec filled.
 */
export function toGrey(
  cells: Uint8Array | Uint16Array,
  cellBits: number,
  transform: GreyTransform,
): Uint16Array {
  const { bitsStored, highBit } = transform;
  // A codec that coded fewer bits than a cell has coded only the stored bits, aligned to bit 0.
  const shift = cellBits > highBit ? highBit + 1 - bitsStored : 0;
  const mask = 2 ** bitsStored - 1;
  const counts = new Uint32Array(2 ** bitsStored);
  for (let index = 0; index < cells.length; index++) counts[(cells[index]! >> shift) & mask]! += 1;
  const greys = greyTable(transform, counts);
  const pixels = new Uint16Array(cells.length);
  for (let index = 0; index < cells.length; index++) {
    pixels[index] = greys[(cells[index]! >> shift) & mask]!;
  }
  return pixels;
}

/** @param counts how often each stored code occurs, for the automatic window. */
function greyTable(transform: GreyTransform, counts: Uint32Array): Uint16Array {
  const { bitsStored, signed, inverted, padding, modality } = transform;
  const stored = (code: number) =>
    signed && code >= 2 ** (bitsStored - 1) ? code - 2 ** bitsStored : code;
  const isPadding = (code: number) =>
    padding !== undefined && stored(code) >= padding.low && stored(code) <= padding.high;
  const values = Float64Array.from(counts, (_, code) => modalityValue(modality, stored(code)));
  const voi =
    transform.voi ??
    automaticWindow(
      values,
      counts.map((count, code) => (isPadding(code) ? 0 : count)),
      bitsStored,
    );
  return Uint16Array.from(values, (value, code) => {
    if (isPadding(code)) return 0;
    const grey = Math.round(65535 * voiValue(voi, value));
    return inverted ? 65535 - grey : grey;
  });
}

export function modalityValue(modality: LookupTable | Rescale, stored: number): number {
  return modality.kind === 'table'
    ? entryOf(modality, stored)
    : stored * modality.slope + modality.intercept;
}

/** 0..1. The window functions are those of PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2. */
export function voiValue(voi: LookupTable | Window, value: number): number {
  switch (voi.kind) {
    case 'table':
      return Math.min(1, entryOf(voi, value) / (2 ** voi.bits - 1));
    case 'SIGMOID':
      return 1 / (1 + Math.exp((-4 * (value - voi.center)) / voi.width));
    case 'LINEAR_EXACT':
      return Math.max(0, Math.min(1, (value - voi.center) / voi.width + 0.5));
    default:
      return linear(value, voi);
  }
}

function linear(value: number, { center, width }: Window): number {
  const [middle, half] = [center - 0.5, (width - 1) / 2];
  if (value <= middle - half) return 0;
  if (value > middle + half) return 1;
  return (value - middle) / (width - 1) + 0.5;
}

/** Values outside the table take its first or last entry (C.11.1.1.1). */
function entryOf({ first, entries }: LookupTable, value: number): number {
  const index = Math.round(value) - first;
  return entries[Math.max(0, Math.min(entries.length - 1, index))]!;
}

/** The share of pixels at each end that may be saturated: markers, collimator, overexposed skin. */
const tail = 0.005;

/**
 * The window of a file that has neither a window nor a table: eight stored bits are display values
 * already and are kept; deeper ones are spread from the 0.5th to the 99.5th percentile.
 */
function automaticWindow(values: Float64Array, counts: Uint32Array, bitsStored: number): Window {
  let codes = Array.from(values.keys());
  if (bitsStored > 8) {
    codes = codes.filter((code) => counts[code]! > 0).sort((a, b) => values[a]! - values[b]!);
    const total = codes.reduce((sum, code) => sum + counts[code]!, 0);
    const low = percentile(codes, counts, total * tail);
    const high = percentile(codes.toReversed(), counts, total * tail);
    if (values[low]! < values[high]!) codes = [low, high];
  }
  const [low, high] = codes.reduce(
    ([low, high], code) => [Math.min(low, values[code]!), Math.max(high, values[code]!)],
    [Infinity, -Infinity],
  );
  return { kind: 'LINEAR_EXACT', center: (low + high) / 2, width: high - low || 1 };
}

/** The first code before or at which more than `share` pixels lie. */
function percentile(codes: readonly number[], counts: Uint32Array, share: number): number {
  let sum = 0;
  return codes.find((code) => (sum += counts[code]!) > share) ?? 0;
}
