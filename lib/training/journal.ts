import { appendFile, readFile } from 'node:fs/promises';
import { writeAtomically } from '../atomic.ts';
import { writing } from './data/disk.ts';

export interface JournalLine {
  readonly kind: 'steps' | 'validation' | 'stage' | 'evaluation';
  readonly stage: string;
  readonly step: number;
  readonly [field: string]: unknown;
}

/**
 * metrics.jsonl: the metrics of a run, in the order of the steps. A run that goes on from a checkpoint
 * first removes the lines after it, so that no step is recorded twice.
 */
export class Journal {
  readonly path: string;
  #lines = 0;

  constructor(path: string) {
    this.path = path;
  }

  get lines(): number {
    return this.#lines;
  }

  async rewind(lines: number): Promise<void> {
    const kept = (await this.#text()).split('\n').slice(0, lines);
    this.#lines = kept.filter((line) => line !== '').length;
    const text = kept.map((line) => (line === '' ? '' : `${line}\n`)).join('');
    await writing(this.path, () =>
      writeAtomically(this.path, async (file) => file.writeFile(text)),
    );
  }

  async add(line: JournalLine): Promise<void> {
    await writing(this.path, () => appendFile(this.path, `${JSON.stringify(line)}\n`));
    this.#lines += 1;
  }

  async read(): Promise<JournalLine[]> {
    const lines = (await this.#text()).split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as JournalLine);
  }

  async #text(): Promise<string> {
    return readFile(this.path, 'utf8').catch(() => '');
  }
}
