import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DomainError } from '../errors.ts';
import { weightPartOf } from '../models/variants.ts';
import { type Agreement, measureAgreement } from '../runtime/decode/agreement.ts';
import { createGenerator } from '../runtime/decode/generator.ts';
import { parseDecodingOptions } from '../releases/decoding.ts';
import type { EvaluationTable, Manifest } from '../releases/manifest.ts';
import { writeModels } from '../releases/models.ts';
import { completeRelease } from '../releases/write.ts';
import { type SafetensorsFile, openSafetensors } from '../safetensors/safetensors.ts';
import type { OpenedRelease, ReleaseStore } from '../releases/store/store.ts';
import { tokenizerFiles } from './data/texts.ts';
import { type EvaluateOptions, decideStudies, evaluate } from './evaluation/evaluate.ts';
import { type EvaluationRequest, withStudies } from './evaluation/release.ts';
import { requestOf } from './generate.ts';

export interface QuantizeOptions extends EvaluationRequest {
  readonly store: ReleaseStore;
  readonly release: string;
}

export interface QuantizedRelease {
  readonly manifest: Manifest;
  readonly parent: Manifest;
  readonly agreement: Agreement;
}

/**
 * Publishes a release again with 8-bit weights in encoder and decoder. The new one is evaluated again, and
 * its evaluation tells how far its reports agree with its parent's. Throws FAILED_PRECONDITION for a
 * release that has 8-bit weights already.
 */
export async function quantizeRelease(options: QuantizeOptions): Promise<QuantizedRelease> {
  const { store, release, signal } = options;
  const parent = await store.open(release, { signal });
  if (parent.manifest.quantization !== 'none') {
    const message = `${parent.manifest.id} has 8-bit weights already`;
    throw new DomainError('FAILED_PRECONDITION', 'QUANTIZED_ALREADY', message, {
      field: 'release',
    });
  }
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-quantize-'));
  try {
    await writeQuantized(folder, parent);
    const { agreement, tables } = await withStudies(parent, options, async (context) => ({
      agreement: await agreementOf(context, folder),
      tables: (await evaluate({ ...context, folder })).tables,
    }));
    const split = options.split ?? (Object.values(tables)[0]?.split as string);
    const evaluation = { ...tables, quantization: agreementTable(agreement, split) };
    const manifest = await complete(folder, parent, evaluation);
    await store.publish(folder, { signal });
    return { manifest, parent: parent.manifest, agreement };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function writeQuantized(
  target: string,
  { manifest: { variant, preset }, folder }: OpenedRelease,
): Promise<void> {
  await using resources = new AsyncDisposableStack();
  const parts = new Map<string, SafetensorsFile>();
  for (const part of ['vision', 'labeler', 'generator']) {
    const file = await openSafetensors(join(folder, `${part}.safetensors`));
    parts.set(part, file);
    resources.defer(() => file.close());
  }
  await writeModels(target, { variant, preset, quantization: 'int8' }, (name) =>
    parts.get(weightPartOf(name))?.read(name),
  );
}

async function complete(
  target: string,
  { manifest, folder }: OpenedRelease,
  evaluation: Manifest['evaluation'],
): Promise<Manifest> {
  const { id, formatVersion: _, files: __, ...described } = manifest;
  const json = async (name: string): Promise<unknown> =>
    JSON.parse(await readFile(join(folder, name), 'utf8'));
  return completeRelease(target, {
    ...described,
    quantization: 'int8',
    provenance: { ...described.provenance, parent: id },
    evaluation,
    tokenizers: {
      encoder: await json(tokenizerFiles.encoder),
      decoder: await json(tokenizerFiles.decoder),
    },
  });
}

/** How far greedy reports of the release and of its 8-bit models agree. */
async function agreementOf(context: EvaluateOptions, quantized: string): Promise<Agreement> {
  const { backend, folder, preset, config, prepared } = context;
  const studies = prepared.splits[context.split].slice(0, context.studies);
  const subjects = await decideStudies(studies, context);
  const { variant, indication } = config;
  const requests = subjects.map((subject) =>
    requestOf(subject, { ...context, variant, indication }),
  );
  await using resources = new AsyncDisposableStack();
  const [reference, candidate] = await Promise.all(
    [folder, quantized].map(async (place) =>
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
