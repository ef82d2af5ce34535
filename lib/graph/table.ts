import type { OpName } from './attributes.ts';
import { control } from './ops/control.ts';
import { elementwise } from './ops/elementwise.ts';
import { linearAlgebra } from './ops/linear.ts';
import { normalization } from './ops/normalization.ts';
import { reduction } from './ops/reduce.ts';
import type { Rows } from './ops/row.ts';
import { shape } from './ops/shape.ts';
import { spatialRows } from './ops/spatial.ts';

/** The operator table: a row an operator. A missing row does not compile. */
export const table: Rows<OpName> = {
  ...elementwise,
  ...shape,
  ...reduction,
  ...linearAlgebra,
  ...spatialRows,
  ...normalization,
  ...control,
};
