import { existsSync, writeFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector';
import path from 'node:path';
import { threadId } from 'node:worker_threads';

/**
 * Loaded into every thread of every service by docs/walks.ts: counts the calls of each function, and
 * writes what ran since the last time whenever a file `take-N` appears in the folder.
 */
const folder = process.env['RADSCRIBE_WALKS'];
if (folder !== undefined) {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  const service = path.basename(path.dirname(process.argv[1] ?? ''));
  let number = 0;
  const timer = setInterval(() => {
    if (!existsSync(path.join(folder, `take-${number}`))) return;
    const name = `${number}-${service}-${process.pid}-${threadId}.json`;
    number += 1;
    session.post('Profiler.takePreciseCoverage', (error, taken) => {
      if (error === null) writeFileSync(path.join(folder, name), JSON.stringify(ranIn(taken)));
    });
  }, 20);
  timer.unref();
}

/** The functions that ran, with their files. */
const ranIn = ({ result }: Profiler.TakePreciseCoverageReturnType) =>
  result.flatMap(({ url, functions }) =>
    functions
      .filter(({ ranges }) => ranges[0]!.count > 0)
      .map(({ functionName, ranges }) => ({ url, functionName, start: ranges[0]!.startOffset })),
  );
