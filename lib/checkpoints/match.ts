import { type DomainError, invalidArgument } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import type { ParameterSpec } from '../models/parameters.ts';
import { printType } from '../tensor.ts';
import { type Architecture, ourName, titleOf } from './architectures.ts';
import { type ForeignWeights, type ForeignTensor, malformed, toFloat32 } from './foreign.ts';
import { gridSide, interpolatePositions } from './positions.ts';

/** Which of a checkpoint's tensors were used for which of a model's parameters. */
export interface MatchReport {
  /** Parameters whose values the checkpoint holds. */
  readonly matched: readonly string[];
  /** Parameters that it lacks: they keep their initial values. */
  readonly initial: readonly string[];
  /** The checkpoint's names that nothing uses. */
  readonly unused: readonly string[];
  /** Changes that were made to tensors, for users. */
  readonly notes: readonly string[];
}

export interface Match extends MatchReport {
  /** The checkpoint's value for a matched parameter, as float32 of the parameter's shape. */
  read(name: string): Promise<Tensor<'float32'>>;
}

interface Source {
  /** The name in the checkpoint. */
  readonly name: string;
  readonly tensor: ForeignTensor;
  /** Tied tensors, which must be the same. */
  readonly copies: readonly Source[];
}

const shapeText = (shape: readonly number[]): string => `[${shape.join(',')}]`;
const sameShape = (a: readonly number[], b: readonly number[]): boolean => String(a) === String(b);

/**
 * Finds a checkpoint's tensors for a model's parameters by the names that `architecture` publishes
 * them under; a spec's name less `prefix` is the published one. Nothing is read yet.
 *
 * Throws INVALID_ARGUMENT for a tensor of another shape, naming both shapes, and for a checkpoint that
 * has no tensor of the architecture.
 */
export function matchForeignWeights(
  specs: readonly ParameterSpec[],
  checkpoint: ForeignWeights,
  architecture: Architecture,
  prefix = '',
): Match {
  const sources = byOurName(checkpoint, architecture);
  const used = new Set<string>();
  const notes: string[] = [];
  const found = new Map<string, { readonly spec: ParameterSpec; readonly source: Source }>();
  for (const spec of specs) {
    const source = sources.get(spec.name.slice(prefix.length));
    if (!source) continue;
    const note = fit(spec, source, checkpoint, architecture);
    if (note) notes.push(note);
    for (const { name } of [source, ...source.copies]) used.add(name);
    found.set(spec.name, { spec, source });
  }
  if (found.size === 0) {
    const some = [...checkpoint.tensors.keys()].slice(0, 3).join(', ') || 'none';
    const message = `holds no tensor of a ${titleOf(architecture)}: its tensors are ${some}, ...`;
    throw invalidArgument('CHECKPOINT_FOREIGN', checkpoint.path, message);
  }
  return {
    matched: [...found.keys()],
    initial: specs.map(({ name }) => name).filter((name) => !found.has(name)),
    unused: [...checkpoint.tensors.keys()].filter((name) => !used.has(name)),
    notes,
    read: async (name) => {
      const match = found.get(name);
      if (!match) throw invalidArgument('TENSOR_NOT_MATCHED', name, 'is not in the checkpoint');
      return readFitted(match.spec, match.source, checkpoint);
    },
  };
}

function byOurName(checkpoint: ForeignWeights, architecture: Architecture): Map<string, Source> {
  const sources = new Map<string, Source>();
  for (const [name, tensor] of checkpoint.tensors) {
    const ours = ourName(architecture, name);
    const known = sources.get(ours);
    const source = { name, tensor, copies: [] };
    // The tensor under its own name leads, whatever order the file has.
    const leads = !known || name.endsWith(ours);
    const [first, copy] = leads ? [source, known] : [known, source];
    const copies = [...first.copies, ...(copy ? [copy, ...copy.copies] : [])];
    sources.set(ours, { ...first, copies });
  }
  return sources;
}

/** Checks that a tensor fits its parameter; returns a note if it must be changed. */
function fit(
  { name, shape }: ParameterSpec,
  { name: theirs, tensor, copies }: Source,
  { path }: ForeignWeights,
  architecture: Architecture,
): string | undefined {
  const copy = copies.find((other) => !sameShape(other.tensor.shape, tensor.shape));
  if (copy) throw untied(path, theirs, copy.name);
  if (sameShape(tensor.shape, shape)) return undefined;
  const [from, to] = [tensor.shape[1] ?? 0, shape[1] ?? 0].map(gridSide);
  const isGrid = architecture === 'vit' && name.endsWith('embeddings.position_embeddings');
  const sameWidth = tensor.shape.length === 3 && tensor.shape[2] === shape[2];
  if (isGrid && sameWidth && from && to) {
    return `${name}: interpolated from ${from} x ${from} to ${to} x ${to} positions`;
  }
  const message =
    `${theirs} is ${shapeText(tensor.shape)} in the checkpoint, ` +
    `${name} of this preset is ${shapeText(shape)}`;
  throw invalidArgument('CHECKPOINT_SHAPE', path, message, { metadata: { tensor: theirs } });
}

const untied = (path: string, a: string, b: string): DomainError =>
  invalidArgument(
    'CHECKPOINT_UNTIED',
    path,
    `${a} and ${b} differ: the model ties them and can hold only one`,
  );

async function readFitted(
  spec: ParameterSpec,
  { name, tensor, copies }: Source,
  { path }: ForeignWeights,
): Promise<Tensor<'float32'>> {
  const raw = await tensor.read();
  const value = toFloat32(raw);
  if (!value) {
    throw malformed(
      path,
      `${name} is ${printType(raw.dtype, raw.shape)}: weights must be floating-point`,
    );
  }
  for (const copy of copies) {
    const other = toFloat32(await copy.tensor.read());
    if (!other?.data.every((x, i) => x === value.data[i])) throw untied(path, name, copy.name);
  }
  const bad = value.data.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) {
    const place = shapeText(unravel(bad, value.shape));
    const message = `${name}${place} is ${value.data[bad]}: weights must be finite`;
    throw invalidArgument('CHECKPOINT_NOT_FINITE', path, message, { metadata: { tensor: name } });
  }
  if (sameShape(value.shape, spec.shape)) return value;
  return interpolatePositions(value, gridSide(spec.shape[1] ?? 0) ?? 0);
}

function unravel(index: number, shape: readonly number[]): number[] {
  let rest = index;
  return shape
    .toReversed()
    .map((dim) => {
      const position = rest % dim;
      rest = Math.floor(rest / dim);
      return position;
    })
    .toReversed();
}
