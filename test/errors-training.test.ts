import { truncate } from 'node:fs/promises';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { openPhantom } from '../lib/data/phantom/dataset.ts';
import { imagenet } from '../lib/image/preprocess.ts';
import { loadPreset } from '../lib/models/preset.ts';
import { writeSafetensors } from '../lib/safetensors/safetensors.ts';
import { trainUnigram, trainWordPiece } from '../lib/text/tokenizer.ts';
import { parseConfig, parseSetting, readConfigFile } from '../lib/training/config.ts';
import { writing } from '../lib/training/data/disk.ts';
import { openDataset } from '../lib/training/data/open.ts';
import { prepareDataset } from '../lib/training/data/prepared.ts';
import { makeTokenizers } from '../lib/training/data/texts.ts';
import { RunDatabase } from '../lib/training/database.ts';
import { initialParameters } from '../lib/training/initial.ts';
import { executeRun } from '../lib/training/run.ts';
import { folder } from './support/datasets.ts';
import { testErrors } from './support/errors.ts';

const preset = loadPreset('demo');
const config = parseConfig({ variant: 'vit', preset: 'demo', data: 'phantom:9' });

const failingWith = (code: string) => () =>
  writing('cache/data', () => Promise.reject(Object.assign(new Error(code), { code })));

const corpus = ['The lungs are clear. The heart is of normal size.'];

testErrors(test, [
  {
    what: 'a config file that is not there',
    reason: 'CONFIG_NOT_FOUND',
    code: 'NOT_FOUND',
    field: '--config',
    provoke: () => readConfigFile('/absent/run.json'),
  },
  {
    what: 'a setting without a value',
    reason: 'SETTING_MALFORMED',
    code: 'INVALID_ARGUMENT',
    field: '--set',
    provoke: () => parseSetting('stage2.epochs'),
  },
  {
    what: 'a dataset of an unknown kind',
    reason: 'DATA_UNKNOWN',
    code: 'INVALID_ARGUMENT',
    field: 'data',
    provoke: () => openDataset('nih:folder'),
  },
  {
    what: 'a dataset with an option that it does not take',
    reason: 'DATA_UNKNOWN',
    code: 'INVALID_ARGUMENT',
    field: 'data',
    provoke: () => openDataset('phantom:9?sice=3'),
  },
  {
    what: 'a number of phantoms that is none',
    reason: 'DATA_UNKNOWN',
    code: 'INVALID_ARGUMENT',
    field: 'data',
    provoke: () => openDataset('phantom:many'),
  },
  {
    what: 'a write to a disk that is full',
    reason: 'DISK_FULL',
    code: 'RESOURCE_EXHAUSTED',
    field: 'cache/data',
    provoke: failingWith('ENOSPC'),
  },
  {
    what: 'a write beyond the quota',
    reason: 'DISK_FULL',
    code: 'RESOURCE_EXHAUSTED',
    field: 'cache/data',
    provoke: failingWith('EDQUOT'),
  },
  {
    what: 'a write to a read-only disk',
    reason: 'DISK_READ_ONLY',
    code: 'RESOURCE_EXHAUSTED',
    field: 'cache/data',
    provoke: failingWith('EROFS'),
  },
  {
    what: 'a prepared dataset that was cut short',
    reason: 'CACHE_TRUNCATED',
    code: 'DATA_LOSS',
    field: /data-[0-9a-f]{24}$/,
    provoke: async (t) => {
      const cache = await folder(t, {});
      const prepared = await prepareDataset(openPhantom({ count: 12, seed: 1, size: 32 }), {
        preprocessing: {
          height: 32,
          width: 32,
          resize: 'contain',
          pad: 0,
          kernel: 'linear',
          ...imagenet,
        },
        limits: {},
        seed: 1,
        cache,
      });
      t.teardown(() => prepared.close());
      const [pixels] = globSync('data-*/pixels.u16', { cwd: cache });
      await truncate(join(cache, pixels ?? ''), 100);
      const [study] = prepared.splits.train;
      await prepared.pixels(study!);
    },
  },
  {
    what: 'a tokenizer with more tokens than the preset has rows',
    reason: 'VOCABULARY_TOO_LARGE',
    code: 'INVALID_ARGUMENT',
    field: 'tokenizers.encoder',
    provoke: async (t) => {
      const root = await folder(t, {
        'encoder.json': JSON.stringify(trainWordPiece(corpus, 150)),
        'decoder.json': JSON.stringify(trainUnigram(corpus, 150)),
      });
      const tokenizers = {
        encoder: join(root, 'encoder.json'),
        decoder: join(root, 'decoder.json'),
      };
      const fusion = { ...preset.fusion, vocabulary: 100 };
      const small = { ...preset, fusion };
      await makeTokenizers(root, { train: [] } as never, { ...config, tokenizers }, small);
    },
  },
  {
    what: 'initial weights that are not there',
    reason: 'WEIGHTS_MISSING',
    code: 'INVALID_ARGUMENT',
    field: 'initialWeights',
    provoke: () => initialParameters({ ...config, initialWeights: '/absent/weights' }, preset),
  },
  {
    what: 'initial weights of another model',
    reason: 'WEIGHTS_MISFIT',
    code: 'INVALID_ARGUMENT',
    field: 'initialWeights',
    provoke: async (t) => {
      const path = join(await folder(t, {}), 'other.safetensors');
      const tensor = { name: 'fc.weight', dtype: 'float32', shape: [1] } as const;
      await writeSafetensors(path, [{ ...tensor, data: Float32Array.of(1) }]);
      await initialParameters({ ...config, initialWeights: path }, preset);
    },
  },
  {
    what: 'a run that another trainer holds',
    reason: 'RUN_LEASED',
    code: 'FAILED_PRECONDITION',
    field: 'run',
    provoke: async (t) => {
      using database = new RunDatabase(await folder(t, {}));
      const { id } = database.create({ config });
      const lease = database.lease(id);
      try {
        database.lease(id);
      } finally {
        lease.release();
      }
    },
  },
  {
    what: 'work on a run that another trainer has taken over',
    reason: 'RUN_LEASE_LOST',
    code: 'FAILED_PRECONDITION',
    field: 'run',
    provoke: async (t) => {
      using database = new RunDatabase(await folder(t, {}));
      const { id } = database.create({ config });
      const lease = database.lease(id);
      lease.release();
      const next = database.lease(id);
      try {
        lease.check();
      } finally {
        next.release();
      }
    },
  },
  {
    what: 'going on with a cancelled run',
    reason: 'RUN_ENDED',
    code: 'FAILED_PRECONDITION',
    field: 'run',
    provoke: async (t) => {
      const root = await folder(t, {});
      using database = new RunDatabase(root);
      const { id } = database.create({ config });
      database.requestCancel(id);
      await executeRun(id, { database, cache: root } as never);
    },
  },
]);
