import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface ChildSpec {
  /** The service: `services/{name}/main.ts`. */
  readonly name: string;
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Each line that it writes. */
  readonly onLine?: (line: string) => void;
  /** It died unasked; false where it shall not be started again. */
  readonly onDeath?: (why: string, restarts: boolean) => boolean;
}

/** A service that dies more often than this within `restartWindowMs` is given up. */
const maxRestarts = 5;
const restartWindowMs = 60_000;
/** Before the next start; doubled for every death in the window. */
const backoffMs = 200;
/** Lines kept to say why a child died. */
const keptLines = 5;

/** One service as a child process, started again when it dies. */
export class Child {
  readonly name: string;
  readonly #spec: ChildSpec;
  readonly #deathsMs: number[] = [];
  readonly #lines: string[] = [];
  #process: ChildProcess | undefined;
  /** The exit code of the process that runs now, or of the last. */
  #ended: Promise<number | null> = Promise.resolve(0);
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(spec: ChildSpec) {
    this.name = spec.name;
    this.#spec = spec;
    this.#start();
  }

  /** The id of the process that runs now; undefined between two. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** SIGTERM, then SIGKILL after `graceMs`. Resolves with the exit code; null after SIGKILL. */
  async stop(graceMs = 10_000): Promise<number | null> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    const child = this.#process;
    child?.kill('SIGTERM');
    const timer = setTimeout(() => child?.kill('SIGKILL'), graceMs);
    try {
      return await this.#ended;
    } finally {
      clearTimeout(timer);
    }
  }

  #start(): void {
    const { name, env } = this.#spec;
    const main = fileURLToPath(new URL(`../../services/${name}/main.ts`, import.meta.url));
    // In a process group of its own: Ctrl-C is for us, who end the services in order. If we die
    // without that, the channel closes, and the service ends by itself (lib/parent.ts).
    const child = spawn(process.execPath, [main], {
      env,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    this.#process = child;
    this.#lines.length = 0;
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.#lines.push(line);
        if (this.#lines.length > keptLines) this.#lines.shift();
        this.#spec.onLine?.(line);
      });
    }
    child.once('error', (error) => this.#died(error.message));
    this.#ended = new Promise((resolve) => {
      // After its streams have ended, so that the last line of stderr is known.
      child.once('close', (code, signal) => {
        this.#died(signal ?? `exit code ${code}`);
        resolve(code);
      });
    });
  }

  #died(why: string): void {
    if (this.#process === undefined) return;
    this.#process = undefined;
    if (this.#stopping) return;
    const nowMs = performance.now();
    this.#deathsMs.push(nowMs);
    const recent = this.#deathsMs.filter((atMs) => nowMs - atMs < restartWindowMs).length;
    const restarts = recent <= maxRestarts;
    const story = [why, this.lastWords()].filter(Boolean).join(': ');
    const again = this.#spec.onDeath?.(story, restarts) ?? true;
    if (!again || !restarts) return;
    this.#timer = setTimeout(() => this.#start(), backoffMs * 2 ** (recent - 1));
  }

  /** What it wrote last, in one line; '' for nothing. */
  lastWords(): string {
    const [last = ''] = this.#lines.slice(-1);
    try {
      const { msg, err } = JSON.parse(last) as { msg?: string; err?: { message?: string } };
      return [msg, err?.message].filter(Boolean).join(': ');
    } catch {
      return last;
    }
  }
}
