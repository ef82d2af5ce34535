import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DomainError } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import { writeAtomically } from '../atomic.ts';
import { openSafetensors, writeSafetensors } from '../safetensors/safetensors.ts';
import { writing } from './data/disk.ts';

export type StageName = 'labels' | 'stage1' | 'stage2' | 'refit' | 'finish';

/** The position of a run in its training: with the tensors, all that decides what comes next. Plain JSON. */
export interface RunPosition {
  readonly stage: StageName;
  /** Of the stage, from 0. */
  readonly epoch: number;
  /** Optimizer steps done in this epoch, and in this stage. */
  readonly epochStep: number;
  readonly stageStep: number;
  /** Validations of this stage, and how many in a row brought no improvement. */
  readonly validations: number;
  readonly worse: number;
  /** The best value of the stage's metric, and the checkpoint that has it. */
  readonly best: { readonly value: number; readonly checkpoint: string } | null;
  /** Lines of metrics.jsonl that belong to what is done. */
  readonly metricLines: number;
  /** Time spent training, over all processes. */
  readonly elapsedMs: number;
}

export interface RunCheckpoint {
  readonly name: string;
  readonly position: RunPosition;
  /** Parameters by name; `adam.*` and the counters of the stage that is under way. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

interface Manifest {
  readonly position: RunPosition;
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * The checkpoints of a run: `NAME.safetensors` and, written after it, `NAME.json` with its digest. A
 * file without a manifest was not written completely and is ignored.
 */
export class RunCheckpoints {
  readonly folder: string;
  readonly #keep: number;

  constructor(folder: string, keep: number) {
    this.folder = folder;
    this.#keep = keep;
  }

  /** Writes a checkpoint, then removes those beyond the last `keep` but the best of the stage. */
  async save(position: RunPosition, tensors: ReadonlyMap<string, Tensor>): Promise<string> {
    await writing(this.folder, () => mkdir(this.folder, { recursive: true }));
    const last = (await this.#names()).at(-1) ?? '0';
    const name = `${Number.parseInt(last, 10) + 1}`.padStart(6, '0');
    const path = this.#path(name, 'safetensors');
    await writing(path, async () => {
      await writeSafetensors(
        path,
        tensors.entries().map(([tensorName, { dtype, shape, data }]) => ({
          name: tensorName,
          dtype,
          shape,
          data,
        })),
      );
      const { size } = await stat(path);
      const best =
        position.best?.checkpoint === '' ? { ...position.best, checkpoint: name } : position.best;
      const manifest: Manifest = {
        position: { ...position, best },
        sha256: await digestOf(path),
        bytes: size,
      };
      await writeAtomically(this.#path(name, 'json'), async (file) => {
        await file.writeFile(JSON.stringify(manifest));
      });
      await this.#prune(best?.checkpoint);
    });
    return name;
  }

  async lastName(): Promise<string | undefined> {
    return (await this.#names()).at(-1);
  }

  /** The newest intact checkpoint. `onCorrupt` gets the error of each newer one, which is removed. */
  async loadLast(onCorrupt: (error: DomainError) => void): Promise<RunCheckpoint | undefined> {
    for (const name of (await this.#names()).toReversed()) {
      try {
        return await this.load(name);
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        onCorrupt(error);
        await this.#remove(name);
      }
    }
    return undefined;
  }

  /** Throws CHECKPOINT_CORRUPT where a file is missing or was changed. */
  async load(name: string): Promise<RunCheckpoint> {
    const path = this.#path(name, 'safetensors');
    const corrupt = (what: string, cause?: unknown): DomainError =>
      new DomainError('DATA_LOSS', 'CHECKPOINT_CORRUPT', `${path}: ${what}`, {
        field: path,
        cause,
      });
    let manifest: Manifest;
    try {
      manifest = JSON.parse(await readFile(this.#path(name, 'json'), 'utf8')) as Manifest;
    } catch (cause) {
      throw corrupt('its manifest cannot be read', cause);
    }
    const size = await stat(path).then(
      (found) => found.size,
      () => -1,
    );
    if (size < 0) throw corrupt('is missing');
    if (size !== manifest.bytes) throw corrupt(`has ${size} bytes, expected ${manifest.bytes}`);
    if ((await digestOf(path)) !== manifest.sha256)
      throw corrupt('its SHA-256 digest differs from the manifest');
    const file = await openSafetensors(path);
    try {
      const tensors = new Map<string, Tensor>();
      for (const tensor of file.names) tensors.set(tensor, await file.read(tensor));
      return { name, position: manifest.position, tensors };
    } finally {
      await file.close();
    }
  }

  #path(name: string, extension: 'json' | 'safetensors'): string {
    return join(this.folder, `${name}.${extension}`);
  }

  async #names(): Promise<string[]> {
    const files = await readdir(this.folder).catch(() => [] as string[]);
    return files
      .filter((file) => /^\d{6,}\.json$/.test(file))
      .map((file) => file.slice(0, -'.json'.length))
      .sort((a, b) => Number(a) - Number(b));
  }

  async #remove(name: string): Promise<void> {
    // The manifest first: after an interrupted removal no checkpoint is left.
    await rm(this.#path(name, 'json'), { force: true });
    await rm(this.#path(name, 'safetensors'), { force: true });
  }

  async #prune(best: string | undefined): Promise<void> {
    const names = await this.#names();
    const kept = new Set(names.slice(-this.#keep));
    if (best !== undefined) kept.add(best);
    for (const name of names) if (!kept.has(name)) await this.#remove(name);
    for (const file of await readdir(this.folder)) {
      const [name = ''] = file.split('.', 1);
      const stray =
        file.endsWith('.tmp') || (file.endsWith('.safetensors') && !names.includes(name));
      if (stray) await rm(join(this.folder, file), { force: true });
    }
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    hash.update(chunk as Uint8Array);
  }
  return hash.digest('hex');
}
