/** Reads the studies of a split in order: shuffling, bounded prefetch, skipping, resuming. */
import { DomainError, invalidArgument } from '../errors.ts';
import type { Dataset, SplitName, Study, StudyRecord } from './dataset.ts';
import { shuffled } from './order.ts';

/** A study that could not be used. */
export interface Skip {
  readonly id: string;
  readonly kind: 'missing' | 'corrupt';
  /** The error, which names the file. */
  readonly message: string;
}

/** A place in one epoch of one split. Plain JSON: stored and read back, it continues exactly there. */
export interface Position {
  /** Fingerprint of the dataset; a position is valid for this one only. */
  readonly fingerprint: string;
  readonly split: SplitName;
  /** Seed of the shuffle; null reads in the order of the ids. */
  readonly seed: number | null;
  readonly epoch: number;
  /** Studies of the epoch that are done: read, skipped or empty. */
  readonly done: number;
  /** Missing and corrupt ones so far; they count against the limit. */
  readonly skipped: readonly Skip[];
  /** Studies so far with an empty report; that is no damage, so they do not count against the limit. */
  readonly empty: number;
}

/** The beginning of an epoch. Epochs count from 0; the same seed and epoch give the same order. */
export function startOf(
  dataset: Dataset,
  split: SplitName,
  { seed = null, epoch = 0 }: { readonly seed?: number | null; readonly epoch?: number } = {},
): Position {
  const { fingerprint } = dataset;
  return { fingerprint, split, seed, epoch, done: 0, skipped: [], empty: 0 };
}

export interface StreamOptions<T> {
  /**
   * Loads what is needed of a study, several at once: decodes, preprocesses, tokenizes. A DomainError
   * that it throws counts as damage of that study, as in `Source`.
   */
  readonly load: (study: Study, signal: AbortSignal) => Promise<T> | T;
  /** Studies that are loaded ahead of the reader; default 4. It changes nothing but speed. */
  readonly prefetch?: number;
  /** Missing and corrupt studies that an epoch may have; default: 1 % of the split, rounded up. */
  readonly skipLimit?: number;
  readonly signal?: AbortSignal;
  /** Called after every study, skipped ones included, in order. */
  readonly onProgress?: (position: Position, total: number) => void;
}

export interface Streamed<T> {
  readonly value: T;
  /** Where to continue after this value. */
  readonly position: Position;
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/**
 * The studies from `position` to the end of its epoch, in order whatever `prefetch` is.
 *
 * Throws DATASET_DAMAGED with a summary when more than `skipLimit` studies are missing or corrupt,
 * POSITION_MISMATCH for a position of another dataset, and the signal's reason when it is aborted.
 * When it has ended, for whatever reason, no file is being read any more.
 */
export async function* streamStudies<T>(
  dataset: Dataset,
  position: Position,
  options: StreamOptions<T>,
): AsyncGenerator<Streamed<T>, void, undefined> {
  const { load, prefetch = 4, onProgress } = options;
  if (!(Number.isInteger(prefetch) && prefetch >= 1)) {
    throw invalidArgument('PREFETCH_RANGE', 'prefetch', `got ${prefetch}, expected 1 or more`);
  }
  const order = orderOf(dataset, position);
  const skipLimit = options.skipLimit ?? Math.ceil(order.length / 100);
  const ended = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, ended.signal]) : ended.signal;
  const attempt = async (record: StudyRecord): Promise<Outcome<T>> => {
    try {
      return { value: await load(await dataset.read(record), signal) };
    } catch (error) {
      return { error };
    }
  };

  const ahead: Promise<Outcome<T>>[] = [];
  let next = position.done;
  options.signal?.throwIfAborted();
  try {
    for (const record of order.slice(position.done)) {
      while (ahead.length < prefetch && next < order.length) {
        ahead.push(attempt(order[next++] as StudyRecord));
      }
      const outcome = (await ahead.shift()) as Outcome<T>;
      options.signal?.throwIfAborted();
      position = advance(position, record, outcome);
      if (position.skipped.length > skipLimit) throw damaged(dataset, position, skipLimit);
      onProgress?.(position, order.length);
      if ('value' in outcome) yield { value: outcome.value, position };
    }
  } finally {
    ended.abort();
    await Promise.all(ahead);
  }
}

function orderOf(dataset: Dataset, position: Position): readonly StudyRecord[] {
  const { fingerprint, split, seed, epoch } = position;
  if (fingerprint !== dataset.fingerprint) {
    throw new DomainError(
      'FAILED_PRECONDITION',
      'POSITION_MISMATCH',
      `position: it belongs to a dataset with fingerprint ${fingerprint}, this one is ${dataset.fingerprint}`,
      { field: 'position' },
    );
  }
  const records = dataset.splits[split];
  if (seed === null) return records;
  return shuffled(records, ({ id }) => id, seed, `epoch ${epoch}`);
}

/** The position after `record`; rethrows an error that is not damage of the study. */
function advance(position: Position, record: StudyRecord, outcome: Outcome<unknown>): Position {
  const after = { ...position, done: position.done + 1 };
  if ('value' in outcome) return after;
  const { error } = outcome;
  if (!(error instanceof DomainError) || error.code === 'INTERNAL' || error.code === 'CANCELLED') {
    throw error;
  }
  if (error.reason === 'REPORT_EMPTY') return { ...after, empty: position.empty + 1 };
  const kind = error.code === 'NOT_FOUND' ? 'missing' : 'corrupt';
  const skip: Skip = { id: record.id, kind, message: error.message };
  return { ...after, skipped: [...position.skipped, skip] };
}

function damaged(dataset: Dataset, position: Position, skipLimit: number): DomainError {
  const { skipped, done, split } = position;
  const missing = skipped.filter(({ kind }) => kind === 'missing').length;
  const named = skipped.slice(-10).map(({ id, message }) => `\n  ${id}: ${message}`);
  const more = skipped.length > named.length ? `\n  and ${skipped.length - named.length} more` : '';
  return new DomainError(
    'DATA_LOSS',
    'DATASET_DAMAGED',
    `${dataset.name} ${split}: ${skipped.length} of the first ${done} studies cannot be used ` +
      `(${missing} missing, ${skipped.length - missing} corrupt), at most ${skipLimit} may be:` +
      named.join('') +
      more,
    {
      field: split,
      metadata: { missing: `${missing}`, corrupt: `${skipped.length - missing}`, done: `${done}` },
    },
  );
}
