import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  encodePng,
  type PhantomOptions,
  type PhantomView,
  planStudy,
  renderStudy,
  studyId,
} from './study.ts';

export interface WriteOptions extends PhantomOptions {
  readonly count: number;
  readonly views: readonly PhantomView[];
  readonly onProgress?: (done: number, count: number) => void;
}

/**
 * Writes studies 0 to `count` - 1 as a folder: `images/ID_VIEW.png`, and `reports.jsonl` with one line
 * a study: uid, images (the first stands for the study), indication, findings, impression, text (both
 * sections, as `radscribe label` reads it) and labels.
 */
export async function writePhantom(directory: string, options: WriteOptions): Promise<void> {
  const { count, views, size, onProgress } = options;
  await mkdir(join(directory, 'images'), { recursive: true });
  const reports = await open(join(directory, 'reports.jsonl'), 'w');
  try {
    for (let index = 0; index < count; index += 1) {
      const plan = planStudy(options, index);
      const uid = studyId(options, index);
      const images: string[] = [];
      for (const view of views) {
        const name = `images/${uid}_${view}.png`;
        const png = await encodePng(await renderStudy(options, plan, view), size);
        await writeFile(join(directory, name), png);
        images.push(name);
      }
      const { indication, findings, impression, labels } = plan.report;
      const text = `${findings} ${impression}`;
      const line = { uid, images, indication, findings, impression, text, labels };
      await reports.write(`${JSON.stringify(line)}\n`);
      onProgress?.(index + 1, count);
    }
  } finally {
    await reports.close();
  }
}
