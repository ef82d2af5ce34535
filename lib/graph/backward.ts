import { o } from './build.ts';
import { printShape, sameShape } from './dim.ts';
import { rowOf } from './table.ts';
import { type Node, type Value, GraphError, isFloat, scalar, sortNodes } from './value.ts';

/** Sums a cotangent over the axes that broadcasting added or stretched. */
function unbroadcast(cotangent: Value, primal: Value): Value {
  if (sameShape(cotangent.shape, primal.shape)) return cotangent;
  const extra = cotangent.shape.length - primal.shape.length;
  const stretched = primal.shape.flatMap((dim, axis) =>
    dim === 1 && cotangent.shape[axis + extra] !== 1 ? [axis + extra] : [],
  );
  const added = Array.from({ length: extra }, (_, axis) => axis);
  let summed = stretched.length > 0 ? o.ReduceSum(cotangent, stretched, true) : cotangent;
  if (added.length > 0) summed = o.ReduceSum(summed, added, false);
  // A rule may also give less than the primal's shape, which then broadcasts.
  return o.ExpandLike(summed, primal);
}

/** `Mul -> Sigmoid -> ReduceSum`: the way from a node to the loss, for messages. */
function pathToLoss(node: Node, order: readonly Node[], active: ReadonlySet<Node>): string {
  const path: string[] = [node.op];
  let current = node;
  for (const next of order.slice(order.indexOf(node) + 1)) {
    if (!active.has(next) || !next.inputs.some((value) => current.outputs.includes(value)))
      continue;
    path.push(next.op);
    current = next;
  }
  return path.join(' -> ');
}

/** The nodes through which a float value flows from `wrt`: all others get no gradient (freezing). */
function activeNodes(order: readonly Node[], wrt: ReadonlySet<Value>): Set<Node> {
  const active = new Set<Node>();
  for (const node of order) {
    const reached = node.inputs.some(
      (value) =>
        isFloat(value.dtype) &&
        (wrt.has(value) || (value.source.kind === 'node' && active.has(value.source.node))),
    );
    if (reached) active.add(node);
  }
  return active;
}

function applyRule(node: Node, g: Value): readonly (Value | null)[] {
  const { op, inputs: x, outputs: y, attributes } = node;
  const { vjp } = rowOf(op);
  if (!vjp) throw new GraphError(`${op} has no gradient`);
  return vjp({ o, x, y, attributes, g });
}

/**
 * Reverse-mode differentiation: the gradient of the scalar `loss` for every value of `wrt`, in order,
 * as new values of the same graph. `seed` is the cotangent of the loss, 1 by default; a loss scale
 * goes there. Nothing is computed past what `wrt` needs, so leaving a parameter out freezes it.
 *
 * Throws GraphError for a loss that is not a float scalar, for a value that the loss does not depend
 * on, and for an operator without a gradient, with its path to the loss.
 */
export function backward(loss: Value, wrt: readonly Value[], seed?: Value): Value[] {
  if (loss.shape.length > 0 || !isFloat(loss.dtype)) {
    throw new GraphError(
      `the loss must be a float scalar, got ${loss.dtype}${printShape(loss.shape)}`,
    );
  }
  const order = sortNodes([loss]);
  const active = activeNodes(order, new Set(wrt));
  const cotangents = new Map<Value, Value>([[loss, seed ?? scalar(1, loss.dtype)]]);

  for (const node of order.toReversed()) {
    const [output, ...others] = node.outputs;
    const g = output && cotangents.get(output);
    if (!active.has(node)) continue;
    const stray = others.find((value) => cotangents.has(value));
    if (!rowOf(node.op).vjp ? node.outputs.some((value) => cotangents.has(value)) : stray) {
      const which = stray ? `the second output of ${node.op}` : node.op;
      throw new GraphError(
        `no gradient through ${which} ${printShape(output?.shape ?? [])}, on the path ` +
          pathToLoss(node, order, active),
      );
    }
    if (!g) continue;
    const results = applyRule(node, g);
    node.inputs.forEach((value, index) => {
      const result = results[index];
      if (!result || !isFloat(value.dtype)) return;
      if (value.source.kind === 'constant') return;
      const contribution = unbroadcast(result, value);
      const sum = cotangents.get(value);
      cotangents.set(value, sum ? o.Add(sum, contribution) : contribution);
    });
  }

  return wrt.map((value) => {
    const gradient = cotangents.get(value);
    if (!gradient) {
      const name = value.source.kind === 'parameter' ? value.source.name : value.source.kind;
      throw new GraphError(`the loss does not depend on ${name} ${printShape(value.shape)}`);
    }
    return gradient;
  });
}
