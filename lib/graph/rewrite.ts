import { reapply } from './build.ts';
import { type Graph, type Node, type Value, bodiesOf, sortNodes } from './value.ts';

/**
 * Rebuilds a graph node by node, in order, loop bodies included. `replace` gets each node with its
 * inputs already rebuilt and returns its new outputs, or undefined to keep it.
 */
export function rewrite(
  graph: Graph,
  replace: (node: Node, inputs: readonly Value[]) => readonly Value[] | undefined,
): Graph {
  const rebuilt = new Map<Value, Value>();
  const valueOf = (value: Value): Value => rebuilt.get(value) ?? value;
  const outputsOf = (outputs: Graph['outputs']): Graph['outputs'] =>
    outputs.map(({ name, value }) => ({ name, value: valueOf(value) }));

  // Bodies share the map: their leaves stay themselves, so a node means the same inside and outside.
  const visit = (nodes: readonly Node[]): void => {
    for (const node of nodes) {
      if (node.outputs.some((value) => rebuilt.has(value))) continue;
      const inputs = node.inputs.map(valueOf);
      const bodies = bodiesOf(node).map(([name, { inputs: leaves, outputs }]) => {
        visit(sortNodes(outputs.map(({ value }) => value)));
        return [name, { inputs: leaves, outputs: outputsOf(outputs) }] as const;
      });
      let fresh: readonly Value[] | undefined;
      if (bodies.length > 0) {
        const attributes = { ...node.attributes, ...Object.fromEntries(bodies) };
        fresh = reapply({ op: node.op, attributes }, inputs);
      } else {
        fresh = replace(node, inputs);
      }
      if (!fresh) {
        const changed = inputs.some((value, index) => value !== node.inputs[index]);
        fresh = changed ? reapply(node, inputs) : node.outputs;
      }
      node.outputs.forEach((value, index) => rebuilt.set(value, fresh[index] ?? value));
    }
  };
  visit(sortNodes(graph.outputs.map(({ value }) => value)));
  return { inputs: graph.inputs, outputs: outputsOf(graph.outputs) };
}
