import { control } from './ops/control.ts';
import { binary, elementwise, unary } from './ops/elementwise.ts';
import { linearAlgebra } from './ops/linear.ts';
import { normalization } from './ops/normalization.ts';
import { reductions, softmaxes } from './ops/reduce.ts';
import type { Row } from './ops/row.ts';
import { shape } from './ops/shape.ts';
import { spatialRows } from './ops/spatial.ts';
import type { Node } from './value.ts';

/** The operator table: a row an operator. The builder and the ONNX writer take their names from it. */
export const table = {
  ...unary,
  ...binary,
  ...elementwise,
  ...shape,
  ...reductions,
  ...softmaxes,
  ...linearAlgebra,
  ...spatialRows,
  ...normalization,
  ...control,
};

export type OpName = keyof typeof table;
export type AttributesOf<K extends OpName> = (typeof table)[K] extends Row<infer A> ? A : never;

/** A node of one operator. */
export interface NodeOf<K extends OpName> extends Node {
  readonly op: K;
  readonly attributes: AttributesOf<K>;
}

export const isNode = <K extends OpName>(node: Node | undefined, op: K): node is NodeOf<K> =>
  node?.op === op;

/** The row of an operator whose name is only known at run time. */
export const rowOf = (op: string): Row<object> => table[op as OpName] as Row<object>;
