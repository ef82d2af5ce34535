export type RasterFormat = 'jpeg' | 'png' | 'tiff';
export type View = 'PA' | 'AP' | 'LATERAL';

/** A decoded image of a radiograph. It holds nothing that identifies a patient. */
export interface DecodedImage {
  readonly width: number;
  readonly height: number;
  /** Grey, row-major, 0..65535, higher is brighter: MONOCHROME1 is already inverted. */
  readonly pixels: Uint16Array;
  readonly format: RasterFormat | 'dicom';
  /** The significant bits of a stored sample, before it was spread over 0..65535. */
  readonly bitsStored: number;
  /** Known from DICOM only, and only if the file states it. */
  readonly view: View | undefined;
  readonly laterality: 'L' | 'R' | undefined;
}
