import { type Shape, printShape, sameShape } from '../dim.ts';
import { type Graph, GraphError, type Type } from '../value.ts';
import { row } from './row.ts';

/** The branches' inputs stand for the node's inputs after the condition. */
interface Branches {
  readonly then_branch: Graph;
  readonly else_branch: Graph;
}

/** `trips` is how many values the scan outputs hold. */
interface Iteration {
  readonly body: Graph;
  readonly trips: Shape[number];
}

export const control = {
  // Inputs: a bool scalar, then what the branches read as their inputs.
  If: row<Branches>({
    infer: ([condition], { then_branch: yes, else_branch: no }) => {
      if (condition?.dtype !== 'bool') throw new GraphError('the condition must be bool');
      return yes.outputs.map(({ value }, index): Type => {
        const other = no.outputs[index]?.value;
        if (other?.dtype !== value.dtype || !sameShape(other.shape, value.shape)) {
          throw new GraphError(`the branches differ in the type of output ${index}`);
        }
        return { dtype: value.dtype, shape: value.shape };
      });
    },
    vjp: null,
  }),
  // Inputs: trip count, then the initial carried values. Body inputs: iteration, condition, carried;
  // body outputs: condition, carried, then what is stacked over the iterations.
  Loop: row<Iteration>({
    infer: (x, { body, trips }) => {
      const initial = x.slice(1);
      const results = body.outputs.slice(1).map(({ value }) => value);
      const carried = initial.map((value, index): Type => {
        for (const other of [body.inputs[index + 2], results[index]]) {
          if (other?.dtype !== value.dtype || !sameShape(other.shape, value.shape)) {
            throw new GraphError(
              `carried value ${index} starts as ${value.dtype}${printShape(value.shape)} ` +
                `and becomes ${other?.dtype}${printShape(other?.shape ?? [])}`,
            );
          }
        }
        return { dtype: value.dtype, shape: value.shape };
      });
      const stacked = results
        .slice(initial.length)
        .map((value): Type => ({ dtype: value.dtype, shape: [trips, ...value.shape] }));
      return [...carried, ...stacked];
    },
    vjp: null,
  }),
};
