import { type Value, GraphError, parameter } from '../graph/value.ts';

/** How a tensor starts, as the original implementation starts it. */
export type Initializer =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly std: number; readonly zeroRow?: number }
  | { readonly kind: 'uniform'; readonly bound: number };

export const zeros: Initializer = { kind: 'constant', value: 0 };
export const ones: Initializer = { kind: 'constant', value: 1 };
export const normal = (std: number): Initializer => ({ kind: 'normal', std });
/** PyTorch's default for a linear layer: uniform within 1/sqrt(fan in). */
export const torchLinear = (fanIn: number): Initializer => ({
  kind: 'uniform',
  bound: fanIn ** -0.5,
});

export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  /** Running statistics: carried and saved, but not trained. */
  readonly isBuffer: boolean;
  readonly value: Value;
}

/** Names parameters below a prefix, as a PyTorch module does. */
export interface Scope {
  /** The same name gives the same value: tied weights are requested twice. */
  parameter(name: string, shape: readonly number[], initializer: Initializer): Value;
  buffer(name: string, shape: readonly number[], initializer: Initializer): Value;
  scope(name: string): Scope;
}

/** Every parameter that a model's code requested, in that order. */
export class ParameterSet implements Scope {
  readonly #specs = new Map<string, ParameterSpec>();

  get specs(): readonly ParameterSpec[] {
    return [...this.#specs.values()];
  }

  parameter(name: string, shape: readonly number[], initializer: Initializer): Value {
    return this.#add(name, shape, initializer, false);
  }

  buffer(name: string, shape: readonly number[], initializer: Initializer): Value {
    return this.#add(name, shape, initializer, true);
  }

  scope(prefix: string): Scope {
    const full = (name: string): string => `${prefix}.${name}`;
    return {
      parameter: (name, shape, initializer) => this.parameter(full(name), shape, initializer),
      buffer: (name, shape, initializer) => this.buffer(full(name), shape, initializer),
      scope: (name) => this.scope(full(name)),
    };
  }

  #add(name: string, shape: readonly number[], initializer: Initializer, isBuffer: boolean): Value {
    const known = this.#specs.get(name);
    if (known) {
      if (String(known.shape) !== String(shape)) {
        throw new GraphError(
          `${name} is [${String(known.shape)}] and was requested as [${String(shape)}]`,
        );
      }
      return known.value;
    }
    const value = parameter(name, shape);
    this.#specs.set(name, { name, shape, initializer, isBuffer, value });
    return value;
  }
}
