import { join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import type { DecodedImage } from '../lib/image/decoded.ts';
import { promptText } from '../lib/inference/prompt.ts';
import { isLabelVariant } from '../lib/models/names.ts';
import { openStore } from '../lib/releases/store/open.ts';
import { generatorService, labelerService, visionService } from '../lib/rpc/services.ts';
import type { Observation } from '../lib/text/labels/observations.ts';
import { openDataset } from '../lib/training/data/open.ts';
import { evaluateRelease } from '../lib/training/evaluation/release.ts';
import { stateOf } from '../services/gateway/report-response.ts';
import { settings as generatorSettings } from '../services/generator/config.ts';
import { start as startGenerator } from '../services/generator/server.ts';
import { settings as labelerSettings } from '../services/labeler/config.ts';
import { start as startLabeler } from '../services/labeler/server.ts';
import { settings as visionSettings } from '../services/vision/config.ts';
import { start as startVision } from '../services/vision/server.ts';
import { writeRandomRelease } from './support/release.ts';
import { folderOf } from './support/releases.ts';
import { connect, startService } from './support/services.ts';

/** Without loss, so that serving reads the pixels that evaluation reads. */
const png = ({ pixels, width, height }: DecodedImage): Promise<Buffer> =>
  sharp(pixels, { raw: { width, height, channels: 1 } })
    .toColourspace('grey16')
    .png()
    .toBuffer();

/**
 * float32 sums in another order (evaluation embeds in batches), then rounded to half precision: a
 * feature may come out one step of 2^-11 apart.
 */
const tolerance = 2e-3;

for (const variant of ['vit-label', 'chexnet'] as const) {
  test(`what evaluation decides with ${variant} is what the services answer`, async (t) => {
    const root = await folderOf(t);
    const data = 'phantom:40?size=160&seed=5';
    const { id: release, labels: calibration } = await writeRandomRelease(
      join(root, 'made'),
      variant,
      { seed: 3, config: { variant, preset: 'demo', data } as unknown as Record<string, never> },
    );
    const store = openStore(join(root, 'store'));
    await store.publish(join(root, 'made'));
    await store.promote('stable', release);
    const options = { studies: 4, samples: 0, threads: 1, cache: join(root, 'cache') };
    const { reports } = await evaluateRelease({ store, release, split: 'test', ...options });
    t.is(reports.length, 4);

    const env = { RADSCRIBE_STORE: join(root, 'store') };
    const services = {
      vision: await startService(t, startVision, visionSettings, env),
      labeler: await startService(t, startLabeler, labelerSettings, env),
      generator: await startService(t, startGenerator, generatorSettings, env),
    };
    for (const { ready } of Object.values(services)) await ready();
    const vision = connect(t, services.vision.port, visionService);
    const labeler = connect(t, services.labeler.port, labelerService);
    const generator = connect(t, services.generator.port, generatorService);
    const dataset = await openDataset(data);
    t.teardown(() => dataset.close());

    for (const { id, labels, outOfDistribution, report } of reports) {
      const record = dataset.splits.test.find((study) => study.id === id);
      const { images } = await dataset.read(record!);
      const embedded = await vision.embed({ release, image: await png(await images[0].decode()) });
      const distance = embedded.outOfDistribution;
      t.true(distance !== undefined && distance > 0.001 && distance < 1, `${id}: ${distance}`);
      const off = Math.abs(distance! / outOfDistribution! - 1);
      t.true(off < tolerance, `${id}: distance ${distance}, evaluated ${outOfDistribution}`);

      const classified = await labeler.classify({ release, pooled: embedded.pooled });
      for (const [i, { name, probability, threshold, state }] of labels.entries()) {
        const answer = classified.labels[i];
        t.is(answer?.name, name);
        t.is(calibration.thresholds[i], threshold);
        t.is(answer?.threshold, Math.fround(threshold));
        const served = answer?.probability ?? Number.NaN;
        t.true(
          Math.abs(served - probability) < tolerance,
          `${id} ${name}: ${served}, ${probability}`,
        );
        // Closer to the threshold than the tolerance, either state is right.
        if (Math.abs(probability - threshold) < tolerance) continue;
        t.is(answer?.state, `LABEL_STATE_${state === 'positive' ? 'POSITIVE' : 'NEGATIVE'}`);
      }
      const served = classified.labels.map(({ name, state }) => ({
        name: name as Observation,
        state: stateOf(state),
      }));
      const text = promptText(isLabelVariant(variant), served, '');
      let written: string | undefined;
      for await (const { result } of generator.generate({
        release,
        tokens: embedded.tokens,
        text,
      })) {
        if (result) written = result.text;
      }
      t.is(written, report);
    }
    const decided = reports.flatMap(({ labels }) => labels.map(({ state }) => state));
    t.deepEqual([...new Set(decided)].sort(), ['negative', 'positive'], 'labels of both states');
  });
}
