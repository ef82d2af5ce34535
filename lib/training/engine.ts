import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { flopsOf } from '../graph/flops.ts';
import { adamw } from '../graph/optimizer.ts';
import { optimize } from '../graph/passes.ts';
import { type TrainingProgram, nextOf, trainingProgram } from '../graph/program.ts';
import type { Tensor } from '../graph/types.ts';
import { type Graph, type Type, type Value, input } from '../graph/value.ts';
import { ParameterSet } from '../models/parameters.ts';
import { writeGraph } from '../releases/models.ts';
import type { Backend, Kept, Session } from '../runtime/backend.ts';
import { writeSafetensors } from '../safetensors/safetensors.ts';
import { writing } from './data/disk.ts';
import { type StageContext, type StageResult, stageModel } from './model.ts';
import { scheduleOf } from './stages.ts';

export interface EngineOptions extends StageContext {
  readonly backend: Backend;
  /** Folder of the models and the frozen weights while the stage runs; emptied first. */
  readonly folder: string;
  /** Inputs of a micro-batch, and of a batch of validation, whose rows are symbolic. */
  readonly inputs: Readonly<Record<string, Type>>;
  readonly validationInputs: Readonly<Record<string, Type>>;
  /** Optimizer steps of the whole stage, for the schedules. */
  readonly totalSteps: number;
  /** Every parameter of the variant. The data of those that are trained moves to the engine. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Moments and counters of a checkpoint; absent: the stage starts. */
  readonly state?: ReadonlyMap<string, Tensor>;
}

export interface StepResult {
  readonly losses: readonly number[];
  readonly gradientNorms: readonly number[];
  readonly finite: readonly boolean[];
  readonly accuracies: readonly number[];
  /** Loss scale after the last step; 1 without mixed precision. */
  readonly lossScale: number;
}

/**
 * One stage in the engine: a Loop over optimizer steps whose state stays with the backend between runs,
 * and a forward pass for validation that reads the same state.
 */
export class StageEngine {
  readonly trained: readonly string[];
  readonly #program: TrainingProgram;
  readonly #training: Session;
  readonly #validation: Session;
  readonly #validationState: readonly string[];
  readonly #inputs: Readonly<Record<string, Type>>;
  #state: Readonly<Record<string, Tensor | Kept>>;

  private constructor(
    parts: Pick<Built, 'program' | 'trained' | 'validationState'> & {
      readonly training: Session;
      readonly validation: Session;
      readonly inputs: Readonly<Record<string, Type>>;
    },
    state: Readonly<Record<string, Tensor>>,
  ) {
    this.#program = parts.program;
    this.trained = parts.trained;
    this.#training = parts.training;
    this.#validation = parts.validation;
    this.#validationState = parts.validationState;
    this.#inputs = parts.inputs;
    this.#state = state;
  }

  static async create(options: EngineOptions): Promise<StageEngine> {
    const built = build(options);
    const { backend, folder, inputs } = options;
    await writing(folder, async () => {
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true });
    });
    const load = await modelWriter(options, built);
    const training = await backend.load(await load('train', built.program.graph));
    const validation = await backend.load(await load('validate', built.validation));
    return new StageEngine({ ...built, training, validation, inputs }, startState(options, built));
  }

  /** Makes optimizer steps on the micro-batches of `makeFeeds`; the feeds are consumed. */
  async step(
    feeds: Readonly<Record<string, Tensor>>,
    steps: number,
    seed: number,
  ): Promise<StepResult> {
    const kept = this.#program.carried.map(({ name }) => nextOf(name));
    const fetch = this.#training.outputs
      .map(({ name }) => name)
      .filter((name) => !kept.includes(name));
    const result = await this.#training.run(
      { ...feeds, ...controls(steps, seed), ...this.#state },
      { fetch: [...fetch, scaleName], keep: kept, transfer: true },
    );
    await this.#drop();
    this.#state = Object.fromEntries(
      this.#program.carried.map(({ name }) => [name, result.kept[nextOf(name)] as Kept]),
    );
    const numbers = (name: string): number[] =>
      Array.from(result.fetched[name]?.data ?? [], Number);
    return {
      losses: numbers('losses'),
      gradientNorms: numbers('gradientNorms'),
      finite: numbers('finite').map((value) => value === 1),
      accuracies: numbers('metrics.accuracy'),
      lossScale: numbers(scaleName)[0] ?? 1,
    };
  }

  /** A copy of the whole state: parameters and buffers, moments, counters. */
  async readState(): Promise<Map<string, Tensor>> {
    // With no steps the loop returns its state unchanged.
    const empty = Object.entries(this.#inputs).map(([name, { dtype, shape }]) => {
      const known = [0, ...shape.map((dim) => (typeof dim === 'number' ? dim : 1))];
      const data = dtype === 'int64' ? new BigInt64Array(0) : new Float32Array(0);
      return [name, { dtype, shape: known, data }] as const;
    });
    const { fetched } = await this.#training.run(
      { ...Object.fromEntries(empty), ...controls(0, 0), ...this.#state },
      { fetch: this.#program.carried.map(({ name }) => nextOf(name)), keep: [] },
    );
    return new Map(
      this.#program.carried.map(({ name }) => [name, fetched[nextOf(name)] as Tensor]),
    );
  }

  /** The forward pass as in serving: no dropout, running statistics. */
  async validate(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    const state = this.#validationState.map((name) => [name, this.#state[name] as Tensor | Kept]);
    const { fetched } = await this.#validation.run({
      ...feeds,
      ...(Object.fromEntries(state) as Record<string, Tensor | Kept>),
    });
    return fetched;
  }

  /** Floating-point operations of `steps` steps, of matrix products and convolutions. */
  flops(steps: number, lengths: Readonly<Record<string, number>>): number {
    return steps * flopsOf(this.#program.graph, { trips: 1, ...lengths });
  }

  async dispose(): Promise<void> {
    await this.#drop();
    await this.#training.dispose();
    await this.#validation.dispose();
  }

  async #drop(): Promise<void> {
    for (const value of Object.values(this.#state)) if ('release' in value) await value.release();
  }
}

const scaleName = nextOf('lossScale');

const controls = (steps: number, seed: number): Record<string, Tensor> => ({
  steps: { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(steps)) },
  seed: { dtype: 'uint32', shape: [], data: Uint32Array.of(seed) },
});

interface Built {
  readonly program: TrainingProgram;
  readonly validation: Graph;
  readonly trained: readonly string[];
  /** The part of the state that the validation graph reads. */
  readonly validationState: readonly string[];
}

function build(options: EngineOptions): Built {
  const { plan, config, inputs, validationInputs, totalSteps } = options;
  const root = new ParameterSet();
  const fed = (types: Readonly<Record<string, Type>>): Record<string, Value> =>
    Object.fromEntries(
      Object.entries(types).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
    );
  // Validation first: its graph names every parameter that the stage reads.
  const batch = fed(validationInputs);
  const outputs = Object.entries(stageModel(root, batch, options)) as [keyof StageResult, Value][];
  const trainable = root.specs.filter(({ name, isBuffer }) => !isBuffer && plan.isTrained(name));
  const buffers = root.specs.filter(
    ({ name, isBuffer }) => isBuffer && plan.batchStatistics && plan.isTrained(name),
  );
  const { weightDecay, maxNorm, beta1, beta2, epsilon } = config.optimizer;
  const isDecayed = new Set(
    // No weight decay for biases and the gains of norms, as is usual with AdamW.
    trainable.filter(({ shape }) => shape.length > 1).map(({ name }) => name),
  );
  // Only matrices between hidden states: not embeddings, convolutions, or the classifier.
  const isInner = new Set(
    trainable
      .filter(
        ({ name, shape }) => shape.length === 2 && /\.(layer|block)\.\d+\..*weight$/.test(name),
      )
      .map(({ name }) => name),
  );
  const program = trainingProgram({
    inputs,
    forward: (micro, key) => {
      const updated = new Map<Value, Value>();
      const result = stageModel(root, micro, options, {
        key,
        dropout: config.dropout,
        ...(plan.batchStatistics && { buffers: updated }),
      });
      return {
        loss: result.loss,
        buffers: updated,
        ...(result.accuracy && { metrics: { accuracy: result.accuracy } }),
      };
    },
    trainable: trainable.map(({ value }) => value),
    buffers: buffers.map(({ value }) => value),
    metrics: plan.reportLoss > 0 ? ['accuracy'] : [],
    optimizer: adamw({
      learningRate: (name) => scheduleOf(plan.rate(name, totalSteps)),
      weightDecay: (name) => (isDecayed.has(name) ? weightDecay : 0),
      beta1,
      beta2,
      epsilon,
      maxNorm,
      ...(plan.optimizer === 'muon' && { muon: (name: string) => isInner.has(name) }),
    }),
    accumulation: config.batch.accumulation,
    ...(config.precision === 'mixed' && { lossScale: config.lossScale }),
  });
  const state = [...trainable, ...buffers];
  const validation = optimize({
    inputs: [...Object.values(batch), ...state.map(({ value }) => value)],
    outputs: outputs.map(([name, value]) => ({ name, value })),
  });
  return {
    program,
    validation,
    trained: state.map(({ name }) => name),
    validationState: state.map(({ name }) => name),
  };
}

/** Writes models beside `frozen.safetensors`, which holds the weights that are not trained. */
async function modelWriter(
  { parameters, folder, plan }: EngineOptions,
  { trained }: Built,
): Promise<(name: string, graph: Graph) => Promise<string>> {
  const own = new Set(trained);
  const frozen = parameters
    .entries()
    .filter(([name]) => !own.has(name))
    .map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, data }));
  const location = 'frozen.safetensors';
  const infos = await writing(folder, () => writeSafetensors(join(folder, location), frozen));
  return async (name, graph) => {
    const path = join(folder, `${name}.onnx`);
    const names = { name: `${plan.name} ${name}`, location };
    await writing(path, () => writeGraph(path, graph, names, (parameter) => infos.get(parameter)));
    return path;
  };
}

function startState(
  { parameters, state }: EngineOptions,
  { program }: Built,
): Record<string, Tensor> {
  return Object.fromEntries(
    program.carried.map(({ name, dtype, shape, initial }) => {
      const known = state?.get(name) ?? parameters.get(name);
      if (known) return [name, known];
      const size = shape.reduce((product, dim) => product * dim, 1);
      const data =
        dtype === 'int64'
          ? new BigInt64Array(size).fill(BigInt(initial ?? 0))
          : new Float32Array(size).fill(initial ?? 0);
      return [name, { dtype, shape, data }];
    }),
  );
}
