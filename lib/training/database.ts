import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { DomainError, invalidArgument } from '../errors.ts';
import type { TrainingConfig } from './config.ts';
import type { Progress } from './progress.ts';

export type RunState =
  | 'queued'
  | 'running'
  /** Stopped with a checkpoint, from which it can be resumed. */
  | 'interrupted'
  | 'succeeded'
  | 'failed'
  | 'cancelled';
const ended: ReadonlySet<RunState> = new Set(['succeeded', 'failed', 'cancelled']);
/** Whether a run does no more by itself; one that failed may still be resumed. */
export const hasEnded = (state: RunState): boolean => ended.has(state);

export interface Run {
  readonly id: string;
  readonly state: RunState;
  readonly config: TrainingConfig;
  /** The store that gets the release; null keeps it in the run's folder. */
  readonly store: string | null;
  /** Channel that gets the release; null leaves all channels as they are. */
  readonly channel: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly cancelRequested: boolean;
  /** How often it was put back into the queue. */
  readonly resumes: number;
  readonly release: string | null;
  readonly error: { readonly reason: string; readonly message: string } | null;
  /** The latest progress that its trainer reported. */
  readonly progress: RunProgress | null;
}

export type RunProgress = Pick<
  Progress,
  'stage' | 'epoch' | 'step' | 'totalSteps' | 'loss' | 'studiesPerSecond' | 'etaSeconds'
>;

export interface RunEvent {
  /** Counts from 1 within the run. */
  readonly sequence: number;
  readonly at: string;
  readonly kind: 'state' | 'progress' | 'metrics' | 'checkpoint' | 'warning' | 'release';
  readonly data: Readonly<Record<string, unknown>>;
}

export interface NewRun {
  readonly config: TrainingConfig;
  readonly store?: string | null;
  readonly channel?: string | null;
  /** The same request gives the same run. */
  readonly requestId?: string;
}

type Row = Record<string, SQLOutputValue>;

/** How long a trainer holds its run after it last renewed the lease. */
const leaseMs = 30_000;

const schema = `
  CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, request TEXT UNIQUE, request_config TEXT,
    state TEXT NOT NULL, config TEXT NOT NULL, store TEXT, channel TEXT,
    created TEXT NOT NULL, updated TEXT NOT NULL, cancel INTEGER NOT NULL DEFAULT 0,
    release TEXT, error TEXT, progress TEXT,
    lease_owner TEXT, lease_host TEXT, lease_pid INTEGER, lease_until INTEGER,
    resumes INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE IF NOT EXISTS events (
    run TEXT NOT NULL REFERENCES runs(id), sequence INTEGER NOT NULL, at TEXT NOT NULL,
    kind TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, sequence)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS progress_of_stage ON events (json_extract(data, '$.stage'), at)
    WHERE kind = 'progress' AND json_extract(data, '$.step') IS NOT NULL;
`;

/** Columns that databases of earlier versions lack. */
const addedColumns = { resumes: 'INTEGER NOT NULL DEFAULT 0' };

/** The runs of a folder, their states, events and leases, in SQLite: `FOLDER/runs.sqlite`. */
export class RunDatabase {
  readonly folder: string;
  readonly #db: DatabaseSync;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    this.#db = new DatabaseSync(join(folder, 'runs.sqlite'), { timeout: 10_000 });
    // No write-ahead log: it needs memory that hosts do not share, and Jobs write from others.
    this.#db.exec('PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL;');
    this.#db.exec(schema);
    this.#transaction(() => this.#addColumns());
  }

  [Symbol.dispose](): void {
    this.close();
  }

  close(): void {
    this.#db.close();
  }

  /** What a run keeps: checkpoints, metrics, plots. */
  folderOf(id: string): string {
    return join(this.folder, id);
  }

  /** Throws REQUEST_ID_REUSED where `requestId` made a run of another config. */
  create({ config, store = null, channel = null, requestId }: NewRun): Run {
    return this.#transaction(() => {
      const text = JSON.stringify([config, store, channel]);
      const known = requestId === undefined ? undefined : this.#byRequest(requestId);
      if (known) {
        if (known['request_config'] === text) return toRun(known);
        const message = `${requestId} was used for run ${String(known['id'])}, which has another config`;
        throw invalidArgument('REQUEST_ID_REUSED', 'request_id', message);
      }
      const id = `run-${randomUUID().slice(0, 8)}`;
      const now = new Date().toISOString();
      this.#db
        .prepare(
          `INSERT INTO runs (id, number, request, request_config, state, config, store, channel, created, updated)
           VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM runs), ?, ?, 'queued', ?, ?, ?, ?, ?)`,
        )
        .run(id, requestId ?? null, text, JSON.stringify(config), store, channel, now, now);
      this.#addEvent(id, 'state', { state: 'queued' });
      return this.get(id);
    });
  }

  get(id: string): Run {
    const row = this.#db.prepare('SELECT * FROM runs WHERE id = ?').get(id);
    if (row) return toRun(row);
    const message = `${this.folder}: there is no run ${id}`;
    throw new DomainError('NOT_FOUND', 'RUN_NOT_FOUND', message, { field: 'run' });
  }

  /** Newest first; `before` is the id of the last run of the page before. */
  list({ limit = 50, before }: { limit?: number; before?: string | undefined } = {}): Run[] {
    const rows = this.#db
      .prepare(
        `SELECT * FROM runs WHERE number < coalesce((SELECT number FROM runs WHERE id = ?), 9e15)
         ORDER BY number DESC LIMIT ?`,
      )
      .all(before ?? null, limit);
    return rows.map(toRun);
  }

  /** All runs in these states, oldest first. */
  inState(...states: readonly RunState[]): Run[] {
    return this.#db
      .prepare('SELECT * FROM runs WHERE state IN (SELECT value FROM json_each(?)) ORDER BY number')
      .all(JSON.stringify(states))
      .map(toRun);
  }

  setState(
    id: string,
    state: RunState,
    details: Partial<Pick<Run, 'release' | 'error'>> = {},
  ): void {
    const { release = null, error = null } = details;
    this.#transaction(() => {
      this.#db
        .prepare(
          `UPDATE runs SET state = ?, updated = ?, release = coalesce(?, release), error = ? WHERE id = ?`,
        )
        .run(state, new Date().toISOString(), release, error && JSON.stringify(error), id);
      this.#addEvent(id, 'state', { state, ...(release && { release }), ...(error && { error }) });
    });
  }

  addProgress(id: string, progress: Progress): void {
    const { stage, epoch, step, totalSteps, loss, studiesPerSecond, etaSeconds } = progress;
    const latest = { stage, epoch, step, totalSteps, loss, studiesPerSecond, etaSeconds };
    this.#transaction(() => {
      this.#db
        .prepare('UPDATE runs SET progress = ?, updated = ? WHERE id = ?')
        .run(JSON.stringify(latest satisfies RunProgress), new Date().toISOString(), id);
      this.#addEvent(id, 'progress', { ...progress });
    });
  }

  addEvent(id: string, kind: RunEvent['kind'], data: RunEvent['data']): void {
    this.#transaction(() => this.#addEvent(id, kind, data));
  }

  events(id: string, after = 0, limit = 1000): RunEvent[] {
    const rows = this.#db
      .prepare('SELECT * FROM events WHERE run = ? AND sequence > ? ORDER BY sequence LIMIT ?')
      .all(id, after, limit);
    return rows.map((row) => ({
      sequence: Number(row['sequence']),
      at: String(row['at']),
      kind: row['kind'] as RunEvent['kind'],
      data: JSON.parse(String(row['data'])) as RunEvent['data'],
    }));
  }

  /**
   * The newest progress of a stage, of whichever run reported it last, and whether that run is in this
   * stage now. Undefined where no run has reached the stage.
   */
  latestProgress(stage: string): LatestProgress | undefined {
    const row = this.#db
      .prepare(
        `SELECT events.at, events.data, runs.state = 'running'
           AND json_extract(runs.progress, '$.stage') = json_extract(events.data, '$.stage') AS current
         FROM events JOIN runs ON runs.id = events.run
         WHERE kind = 'progress' AND json_extract(data, '$.step') IS NOT NULL
           AND json_extract(data, '$.stage') = ?
         ORDER BY at DESC, sequence DESC LIMIT 1`,
      )
      .get(stage);
    if (!row) return undefined;
    const progress = JSON.parse(String(row['data'])) as Progress;
    return { at: String(row['at']), progress, isCurrent: row['current'] === 1 };
  }

  /**
   * Puts a run back into the queue that failed, was interrupted, or whose trainer is gone; it will go on
   * from its last checkpoint. A run that waits or trains stays as it is, so that a repeated call changes
   * nothing. Throws RUN_ENDED for a run that succeeded or was cancelled.
   */
  resume(id: string): Run {
    return this.#transaction(() => {
      const run = this.get(id);
      checkResumable(run);
      if (run.state === 'queued' || this.isHeld(id)) return run;
      this.#db
        .prepare('UPDATE runs SET cancel = 0, resumes = resumes + 1, progress = NULL WHERE id = ?')
        .run(id);
      this.setState(id, 'queued');
      return this.get(id);
    });
  }

  /** A run that waits ends at once; one that trains ends after its current step. */
  requestCancel(id: string): Run {
    return this.#transaction(() => {
      const run = this.get(id);
      if (hasEnded(run.state)) return run;
      this.#db.prepare('UPDATE runs SET cancel = 1 WHERE id = ?').run(id);
      if (run.state !== 'running' || !this.isHeld(id)) this.setState(id, 'cancelled');
      return this.get(id);
    });
  }

  /**
   * Takes the run for this process. Throws RUN_LEASED where another trainer holds it: one that renewed
   * its lease within the last 30 s, unless it ran on this machine and is dead.
   */
  lease(id: string): Lease {
    const owner = randomUUID();
    this.#transaction(() => {
      this.get(id);
      const holder = this.#holder(id);
      if (holder) {
        const message = `run ${id} is being trained by process ${holder.pid} on ${holder.host}`;
        throw new DomainError('FAILED_PRECONDITION', 'RUN_LEASED', message, { field: 'run' });
      }
      this.#db
        .prepare(
          'UPDATE runs SET lease_owner = ?, lease_host = ?, lease_pid = ?, lease_until = ? WHERE id = ?',
        )
        .run(owner, hostname(), process.pid, Date.now() + leaseMs, id);
    });
    const renew = (): boolean =>
      this.#db
        .prepare('UPDATE runs SET lease_until = ? WHERE id = ? AND lease_owner = ?')
        .run(Date.now() + leaseMs, id, owner).changes === 1;
    const timer = setInterval(renew, leaseMs / 3).unref();
    return {
      check: () => {
        if (renew()) return;
        const message = `run ${id} was taken over by another trainer`;
        throw new DomainError('FAILED_PRECONDITION', 'RUN_LEASE_LOST', message, { field: 'run' });
      },
      release: () => {
        clearInterval(timer);
        this.#db
          .prepare('UPDATE runs SET lease_owner = NULL WHERE id = ? AND lease_owner = ?')
          .run(id, owner);
      },
    };
  }

  /** Whether a living trainer has the run. */
  isHeld(id: string): boolean {
    return this.#holder(id) !== undefined;
  }

  #holder(id: string): { readonly host: string; readonly pid: number } | undefined {
    const row = this.#db
      .prepare('SELECT lease_owner, lease_host, lease_pid, lease_until FROM runs WHERE id = ?')
      .get(id);
    if (!row || row['lease_owner'] === null || Number(row['lease_until']) < Date.now())
      return undefined;
    const holder = { host: String(row['lease_host']), pid: Number(row['lease_pid']) };
    return holder.host === hostname() && !isAlive(holder.pid) ? undefined : holder;
  }

  #byRequest(requestId: string): Row | undefined {
    return this.#db.prepare('SELECT * FROM runs WHERE request = ?').get(requestId);
  }

  #addEvent(id: string, kind: RunEvent['kind'], data: RunEvent['data']): void {
    this.#db
      .prepare(
        `INSERT INTO events (run, sequence, at, kind, data)
         VALUES (?, (SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE run = ?), ?, ?, ?)`,
      )
      .run(id, id, new Date().toISOString(), kind, JSON.stringify(data));
  }

  #addColumns(): void {
    const known = this.#db.prepare('PRAGMA table_info(runs)').all();
    for (const [name, type] of Object.entries(addedColumns)) {
      if (known.some((column) => column['name'] === name)) continue;
      this.#db.exec(`ALTER TABLE runs ADD COLUMN ${name} ${type}`);
    }
  }

  #transaction<T>(work: () => T): T {
    if (this.#db.isTransaction) return work();
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      this.#db.exec('ROLLBACK');
      throw error;
    }
  }
}

export interface LatestProgress {
  /** When it was reported, RFC 3339. */
  readonly at: string;
  readonly progress: Progress;
  readonly isCurrent: boolean;
}

/** Throws RUN_ENDED for a run that succeeded or was cancelled. */
export function checkResumable({ id, state }: Run): void {
  if (state !== 'succeeded' && state !== 'cancelled') return;
  const message = `run ${id} is ${state}; there is nothing to resume`;
  throw new DomainError('FAILED_PRECONDITION', 'RUN_ENDED', message, { field: 'run' });
}

export interface Lease {
  /** Renews it. Throws RUN_LEASE_LOST where another trainer has it now. */
  check(): void;
  release(): void;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const text = (value: SQLOutputValue | undefined): string | null =>
  value === null || value === undefined ? null : String(value);
const json = (value: SQLOutputValue | undefined): unknown => {
  const found = text(value);
  return found === null ? null : JSON.parse(found);
};

const toRun = (row: Row): Run => ({
  id: String(row['id']),
  state: row['state'] as RunState,
  config: json(row['config']) as TrainingConfig,
  store: text(row['store']),
  channel: text(row['channel']),
  createdAt: String(row['created']),
  updatedAt: String(row['updated']),
  cancelRequested: row['cancel'] === 1,
  resumes: Number(row['resumes']),
  release: text(row['release']),
  error: json(row['error']) as Run['error'],
  progress: json(row['progress']) as RunProgress | null,
});
