import test from 'ava';
import {
  type ConfigInput,
  mergeConfigs,
  parseConfig,
  parseSetting,
  trainingPreset,
} from '../lib/training/config.ts';
import { planStages, rateAt } from '../lib/training/stages.ts';

const least: ConfigInput = { variant: 'vit-label', data: 'phantom:10' };

test("a config's defaults are the figures of the paper", (t) => {
  const { preset, studies, batch, precision, stage1, stage2, labels } = parseConfig(least);
  t.is(preset, 'paper');
  t.deepEqual(studies, { train: 10_000, validate: 500 });
  t.deepEqual(batch, { size: 2, accumulation: 8 });
  t.is(precision, 'mixed');
  t.is(stage1.epochs, 3);
  t.deepEqual(stage1.learningRate, { peak: 2e-5, floor: 2e-5 });
  t.deepEqual(stage1.frozen, ['vision', 'encoder']);
  t.is(stage2.epochs, 20);
  t.deepEqual(stage2.encoderRate, { peak: 5e-5, floor: 1e-5 });
  t.deepEqual(stage2.decoderRate, { peak: 1e-4, floor: 2e-5 });
  t.is(stage2.warmupShare, 0.1);
  t.true(stage2.earlyStopping.patience > 0);
  t.is(labels.imbalance, 'positive-weights');
});

test('a wrong field of a config is named', (t) => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ ...least, variant: 'vgg' }, /^config\.variant: /],
    [{ ...least, stage2: { epoch: 4 } }, /^config\.stage2\.epoch: /],
    [{ ...least, batch: { size: 0 } }, /^config\.batch\.size: /],
    [
      { ...least, stage2: { decoderRate: { peak: 1e-5, floor: 1e-4 } } },
      /^config\.stage2\.decoderRate: the floor 0\.0001 is above the peak 0\.00001/,
    ],
    [{ variant: 'vit' }, /^config\.data: /],
    [[], /^config: /],
  ];
  for (const [json, message] of cases) {
    t.throws(() => parseConfig(json), { name: 'DomainError', message });
  }
});

test('settings and files lie over the preset, field by field', (t) => {
  const over = [parseSetting('stage2.epochs=4'), parseSetting('data=phantom:20')];
  const merged = over.reduce(
    mergeConfigs,
    mergeConfigs(trainingPreset('demo', 'vit'), { ...least, preset: 'demo' } as never),
  );
  const config = parseConfig(merged);
  t.is(config.stage2.epochs, 4);
  t.is(config.data, 'phantom:20');
  t.true(config.labels.trainVision);
  t.throws(() => parseSetting('epochs'), { message: /expected field=value/ });
});

test('stages are left out that have nothing to do, and freeze what the config says', (t) => {
  const names = (changes: Partial<ConfigInput>) =>
    planStages(parseConfig({ ...least, ...changes })).map(({ name }) => name);
  t.deepEqual(names({}), ['labels', 'stage1', 'stage2', 'refit']);
  t.deepEqual(names({ stage2: { epochs: 0 } }), ['labels', 'stage1']);
  t.deepEqual(names({ stage2: { frozen: ['vision'] } }), ['labels', 'stage1', 'stage2']);

  const [, stage1, stage2] = planStages(parseConfig(least));
  t.is(stage1?.reads, 'tokens');
  const trained = (parameter: string) => [
    stage1?.isTrained(parameter),
    stage2?.isTrained(parameter),
  ];
  t.deepEqual(trained('decoder.shared.weight'), [true, true]);
  t.deepEqual(trained('projection.weight'), [true, true]);
  t.deepEqual(trained('encoder.encoder.layer.0.output.dense.weight'), [false, true]);
  t.deepEqual(trained('vision.layernorm.weight'), [false, true]);
  t.deepEqual(trained('encoder.label_attention.layer.0.self.query.weight'), [true, true]);
});

test('the two groups of stage 2 warm up, and fall to their own floors', (t) => {
  const [, , stage2] = planStages(parseConfig(least));
  const at = (parameter: string, step: number) =>
    rateAt(stage2?.rate(parameter, 100) ?? t.fail('no stage 2'), step);
  t.is(at('decoder.x', 0), 1e-5);
  t.is(at('decoder.x', 10), 1e-4);
  t.true(Math.abs(at('decoder.x', 100) - 2e-5) < 1e-12);
  t.is(at('encoder.x', 10), 5e-5);
  t.true(Math.abs(at('vision.x', 100) - 1e-5) < 1e-12);
});
