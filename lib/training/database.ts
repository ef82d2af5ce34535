import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { DomainError, invalidArgument } from '../errors.ts';
import type { TrainingConfig } from './config.ts';

export const runStates = [
  'queued',
  'running',
  /** Stopped with a checkpoint; `--resume` goes on. */
  'interrupted',
  'succeeded',
  'failed',
  'cancelled',
] as const;
export type RunState = (typeof runStates)[number];
const ended: ReadonlySet<RunState> = new Set(['succeeded', 'failed', 'cancelled']);
export const hasEnded = (state: RunState): boolean => ended.has(state);

export interface Run {
  readonly id: string;
  readonly state: RunState;
  readonly config: TrainingConfig;
  /** Where the release goes when the run is done; null keeps it in the run's folder. */
  readonly store: string | null;
  /** Channel that gets the release; null leaves all channels as they are. */
  readonly channel: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly cancelRequested: boolean;
  readonly release: string | null;
  readonly error: { readonly reason: string; readonly message: string } | null;
  /** What the trainer last told of itself. */
  readonly progress: RunProgress | null;
}

export interface RunProgress {
  readonly stage: string;
  readonly epoch: number;
  readonly step: number;
  readonly totalSteps: number;
  readonly loss: number | null;
  readonly studiesPerSecond: number;
  readonly etaSeconds: number | null;
}

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

/** How long a trainer that says nothing more holds its run. */
const leaseMs = 30_000;

const schema = `
  CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, request TEXT UNIQUE, request_config TEXT,
    state TEXT NOT NULL, config TEXT NOT NULL, store TEXT, channel TEXT,
    created TEXT NOT NULL, updated TEXT NOT NULL, cancel INTEGER NOT NULL DEFAULT 0,
    release TEXT, error TEXT, progress TEXT,
    lease_owner TEXT, lease_host TEXT, lease_pid INTEGER, lease_until INTEGER
  ) STRICT;
  CREATE TABLE IF NOT EXISTS events (
    run TEXT NOT NULL REFERENCES runs(id), sequence INTEGER NOT NULL, at TEXT NOT NULL,
    kind TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, sequence)
  ) STRICT, WITHOUT ROWID;
`;

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

  /** Those that wait for a trainer, oldest first. */
  queued(): Run[] {
    return this.#db
      .prepare(`SELECT * FROM runs WHERE state = 'queued' ORDER BY number`)
      .all()
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

  setProgress(id: string, progress: RunProgress): void {
    const now = new Date().toISOString();
    this.#db
      .prepare('UPDATE runs SET progress = ?, updated = ? WHERE id = ?')
      .run(JSON.stringify(progress), now, id);
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

  /** A run that is queued ends at once; one that runs ends at its trainer's next step. */
  requestCancel(id: string): Run {
    return this.#transaction(() => {
      const run = this.get(id);
      if (hasEnded(run.state)) return run;
      this.#db.prepare('UPDATE runs SET cancel = 1 WHERE id = ?').run(id);
      if (run.state !== 'running' || !this.#isHeld(id)) {
        this.#db.prepare(`UPDATE runs SET state = 'cancelled' WHERE id = ?`).run(id);
        this.#addEvent(id, 'state', { state: 'cancelled' });
      }
      return this.get(id);
    });
  }

  /**
   * Takes the run for this process. Throws RUN_LEASED where another trainer holds it: one that has
   * renewed within 30 s, unless it ran on this machine and is dead.
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

  isHeld(id: string): boolean {
    return this.#isHeld(id);
  }

  #isHeld = (id: string): boolean => this.#holder(id) !== undefined;

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
  release: text(row['release']),
  error: json(row['error']) as Run['error'],
  progress: json(row['progress']) as RunProgress | null,
});
