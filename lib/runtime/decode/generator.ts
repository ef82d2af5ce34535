import { join } from 'node:path';
import type { Backend } from '../backend.ts';
import { loadBatch } from './batch.ts';
import { Scheduler, type SchedulerOptions } from './scheduler.ts';

export type { GenerateRequest, Generated } from './job.ts';
export type { GeneratorQueue, GeneratorRun } from './scheduler.ts';

export interface GeneratorOptions extends SchedulerOptions {
  readonly backend: Backend;
  /** A release's folder, which holds encoder.onnx and decoder.onnx. */
  readonly folder: string;
  /** Keeps the weights memory-mapped instead of prepacked: half the memory, slower steps. */
  readonly disablePrepacking?: boolean;
}

/** The fusion encoder and the decoder of a release, loaded. */
export type Generator = Pick<Scheduler, keyof Scheduler>;

/** Loads a release's encoder and decoder into a backend. */
export async function createGenerator(options: GeneratorOptions): Promise<Generator> {
  const { backend, folder, disablePrepacking = false } = options;
  const batch = await loadBatch(backend, join(folder, 'decoder.onnx'), disablePrepacking);
  try {
    const keep = batch.crossNames;
    const path = join(folder, 'encoder.onnx');
    const encoder = await backend.load(path, { keep, disablePrepacking });
    return new Scheduler(encoder, batch, options);
  } catch (error) {
    await batch.dispose();
    throw error;
  }
}
