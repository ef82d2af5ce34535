import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DomainError } from '../errors.ts';
import type { Tensor } from '../graph/types.ts';
import {
  isLabelVariant,
  servingGraphs,
  variantParameters,
  weightPartOf,
} from '../models/variants.ts';
import { type Agreement, measureAgreement } from '../runtime/decode/agreement.ts';
import { type GenerateRequest, createGenerator } from '../runtime/decode/generator.ts';
import { parseDecodingOptions } from '../releases/decoding.ts';
import { quantizeGenerator } from '../releases/quantize.ts';
import type { EvaluationTable, Manifest } from '../releases/manifest.ts';
import { writeRelease } from '../releases/write.ts';
import {
  type SafetensorsFile,
  type TensorSource,
  openSafetensors,
} from '../safetensors/safetensors.ts';
import type { OpenedRelease, ReleaseStore } from '../releases/store/store.ts';
import { labelsOf, tokenizerFiles } from './data/texts.ts';
import { type EvaluateOptions, evaluate } from './evaluation/evaluate.ts';
import { type JudgeOptions, withStudies } from './evaluation/release.ts';
import { decideLabels } from './calibrate.ts';
import { seeStudies } from './see.ts';

export interface QuantizeOptions extends JudgeOptions {
  readonly store: ReleaseStore;
  readonly release: string;
}

export interface QuantizedRelease {
  readonly manifest: Manifest;
  readonly parent: Manifest;
  readonly agreement: Agreement;
}

/**
 * Publishes a release again with 8-bit weights in encoder and decoder. The new one is judged anew, and
 * its evaluation says how far it writes what its parent writes. Throws FAILED_PRECONDITION for a
 * release that is quantised already.
 */
export async function quantizeRelease(options: QuantizeOptions): Promise<QuantizedRelease> {
  const { store, release, signal } = options;
  const parent = await store.open(release, { signal });
  if (parent.manifest.quantisation !== 'none') {
    const message = `${parent.manifest.id} has 8-bit weights already`;
    throw new DomainError('FAILED_PRECONDITION', 'QUANTISED_ALREADY', message, {
      field: 'release',
    });
  }
  const scratch = await mkdtemp(join(tmpdir(), 'radscribe-quantize-'));
  try {
    // Written twice: what the first is judged by belongs to the second, whose id it is part of.
    const draft = join(scratch, 'draft');
    await writeQuantized(draft, parent, {});
    const { agreement, tables } = await withStudies(parent, options, async (context) => ({
      agreement: await agreementOf(context, draft),
      tables: (await evaluate({ ...context, folder: draft })).tables,
    }));
    const split = options.split ?? (Object.values(tables)[0]?.split as string);
    const table = agreementTable(agreement, split);
    const folder = join(scratch, 'release');
    const manifest = await writeQuantized(folder, parent, { ...tables, quantisation: table });
    await store.publish(folder, { signal });
    return { manifest, parent: parent.manifest, agreement };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function writeQuantized(
  target: string,
  { manifest, folder }: OpenedRelease,
  evaluation: Manifest['evaluation'],
): Promise<Manifest> {
  const { id, formatVersion: _, files: __, variant, preset, ...described } = manifest;
  const graphs = servingGraphs(variant, preset);
  const specs = variantParameters(variant, preset);
  await using resources = new AsyncDisposableStack();
  const parts = new Map<string, SafetensorsFile>();
  for (const part of ['vision', 'labeler', 'generator']) {
    const file = await openSafetensors(join(folder, `${part}.safetensors`));
    parts.set(part, file);
    resources.defer(() => file.close());
  }
  const read = (name: string): Promise<Tensor> =>
    (parts.get(weightPartOf(name)) as SafetensorsFile).read(name);
  const inGenerator = specs.filter(({ name }) => weightPartOf(name) === 'generator');
  const { encoder, decoder, tensors } = quantizeGenerator(graphs, inGenerator, read);
  const others = specs
    .filter((spec) => !inGenerator.includes(spec))
    .map(({ name, shape }): TensorSource => {
      return { name, dtype: 'float32', shape, data: async () => (await read(name)).data };
    });
  const json = async (name: string): Promise<unknown> =>
    JSON.parse(await readFile(join(folder, name), 'utf8'));
  return await writeRelease(target, {
    ...described,
    variant,
    preset,
    quantisation: 'int8',
    provenance: { ...described.provenance, parent: id },
    evaluation,
    graphs: { ...graphs, encoder, decoder },
    tensors: [...others, ...tensors],
    tokenizers: {
      encoder: await json(tokenizerFiles.encoder),
      decoder: await json(tokenizerFiles.decoder),
    },
  });
}

/** Greedy reports of the studies, by the release and by its draft with 8-bit weights. */
async function agreementOf(context: EvaluateOptions, draft: string): Promise<Agreement> {
  const { backend, folder, preset, config, prepared, texts, calibration } = context;
  const studies = prepared.splits[context.split].slice(0, context.studies);
  const seen = await seeStudies(studies, {
    ...context,
    preprocessing: config.preprocessing,
    batch: config.validation.batch,
    tokens: true,
    onProgress: (done, total) => context.onProgress?.('pictures', done, total),
  });
  const requests = studies.map((study, i): GenerateRequest => {
    const said = decideLabels(seen[i]?.logits as Float32Array, calibration);
    const indication = config.indication === 'given' ? study.indication : '';
    const text = isLabelVariant(config.variant) ? labelsOf(said) : indication;
    const textIds = texts.encoder.encode(text).slice(0, preset.maxTextTokens);
    return { tokens: seen[i]?.tokens as Tensor, textIds };
  });
  await using resources = new AsyncDisposableStack();
  const [reference, candidate] = await Promise.all(
    [folder, draft].map(async (place) =>
      resources.adopt(await createGenerator({ backend, preset, folder: place }), (made) =>
        made.dispose(),
      ),
    ),
  );
  if (!reference || !candidate) throw new RangeError('two folders make two generators');
  const greedy = parseDecodingOptions({ maxTokens: preset.maxReportTokens });
  return await measureAgreement(reference, candidate, requests, greedy);
}

function agreementTable(agreement: Agreement, split: string): EvaluationTable {
  const { reports, identicalReports, tokens, agreeingTokens, logProbDifference } = agreement;
  return {
    title: 'Agreement of 8-bit weights with float32',
    split,
    studies: reports,
    model: {
      metrics: {
        agreeingTokens: agreeingTokens / Math.max(tokens, 1),
        identicalReports: identicalReports / Math.max(reports, 1),
        logProbDifference,
      },
    },
    baselines: {
      float32: { metrics: { agreeingTokens: 1, identicalReports: 1, logProbDifference: 0 } },
    },
  };
}
