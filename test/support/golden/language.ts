import { o } from '../../../lib/graph/build.ts';
import { meanSquaredError, softmaxCrossEntropy } from '../../../lib/graph/losses.ts';
import type { Tensor } from '../../../lib/graph/types.ts';
import { type Value, constant, constantOf } from '../../../lib/graph/value.ts';
import { bertEmbed, bertLayers } from '../../../lib/models/bert.ts';
import { maskBias } from '../../../lib/models/layers.ts';
import { Dropouts } from '../../../lib/models/mode.ts';
import { ParameterSet } from '../../../lib/models/parameters.ts';
import { t5Decoder } from '../../../lib/models/t5.ts';
import { tensor } from '../engine.ts';
import { type Comparison, type Summary, compareTensor, tolerances } from './compare.ts';
import { checkDecoding } from './decoding.ts';
import { ruledTensor } from './rule.ts';
import { type Matrix, type T5Golden, t5Config } from './t5-file.ts';
import {
  type GoldenParameter,
  type GoldenTraining,
  type Imported,
  checkTraining,
  importGolden,
  runWith,
} from './weights.ts';

interface BertGolden {
  readonly config: Readonly<Record<string, number>>;
  readonly params: readonly GoldenParameter[];
  readonly input_ids: Matrix;
  readonly token_type_ids: Matrix;
  readonly attention_mask: Matrix;
  readonly training?: GoldenTraining & { readonly target_key: string };
}

const integers = (rows: Matrix): Value =>
  constantOf(rows.flat(), 'int64', [rows.length, rows[0]?.length ?? 0]);

/** Rows of a [batch, length, width] tensor that a mask keeps, as [kept, width]. */
function keptRows(states: Tensor | undefined, row: number, mask: readonly number[]): Tensor {
  const [, length = 0, width = 0] = states?.shape ?? [];
  const kept = mask.flatMap((seen, i) =>
    seen
      ? Array.from(
          states?.data.slice((row * length + i) * width, (row * length + i + 1) * width) ?? [],
          Number,
        )
      : [],
  );
  return tensor(kept, [kept.length / width, width]);
}

export async function checkBert(golden: BertGolden): Promise<Comparison[]> {
  const { config, attention_mask: mask } = golden;
  const bert = {
    hidden: config['hidden_size'] ?? 0,
    layers: config['num_hidden_layers'] ?? 0,
    heads: config['num_attention_heads'] ?? 0,
    intermediate: config['intermediate_size'] ?? 0,
    vocabulary: config['vocab_size'] ?? 0,
    positions: config['max_position_embeddings'] ?? 0,
  };
  const root = new ParameterSet();
  const embedded = bertEmbed(
    root,
    integers(golden.input_ids),
    integers(golden.token_type_ids),
    bert,
  );
  const bias = o.Unsqueeze(maskBias(integers(mask)), [1, 2]);
  const states = bertLayers(root, embedded, bert, bias, new Dropouts(undefined));
  const imported = await importGolden(root, golden.params, 'bert');
  const results = await runWith({ states }, imported.weights);
  const comparisons = [...imported.comparisons];
  for (const [name, summary] of Object.entries(golden)) {
    const found = /^last_hidden_state_row(\d+)(_unmasked)?$/.exec(name);
    if (!found) continue;
    const row = Number(found[1]);
    const all = (mask[row] ?? []).map((seen) => (found[2] ? seen : 1));
    const rows = keptRows(results['states'], row, all);
    comparisons.push(compareTensor(name, rows, summary as Summary, tolerances.float32));
  }
  const { training } = golden;
  if (!training) return comparisons;
  const shape = states.shape.map(Number);
  const target = constant(ruledTensor({ key: training.target_key, shape, center: 0, scale: 1 }));
  const counted = o.Unsqueeze(o.Cast(integers(mask), 'float32'), [2]);
  const loss = meanSquaredError(states, target, counted);
  return [...comparisons, ...(await checkTraining(loss, root, imported, training))];
}

export async function checkT5(golden: T5Golden): Promise<Comparison[]> {
  const config = t5Config(golden.config);
  const root = new ParameterSet();
  const memory = constant(ruledTensor(golden.encoder_hidden_states));
  const bias = o.Unsqueeze(maskBias(integers(golden.encoder_attention_mask)), [1, 2]);
  const decode = (ids: Matrix): Value => t5Decoder(root, integers(ids), memory, bias, config);
  const logits = decode(golden.decoder_input_ids);
  const imported = await importGolden(root, golden.params, 't5');
  const results = await runWith({ logits }, imported.weights);
  return [
    ...imported.comparisons,
    compareTensor('logits', results['logits'], golden.logits, tolerances.float32),
    ...(await checkDecoding(golden, config, imported.weights)),
    ...(await checkT5Training(golden, decode, root, imported)),
  ];
}

async function checkT5Training(
  { training }: T5Golden,
  decode: (ids: Matrix) => Value,
  root: ParameterSet,
  imported: Imported,
): Promise<Comparison[]> {
  if (!training) return [];
  const shifted = training.labels.map((row) => [0, ...row.slice(0, -1)]);
  const counted = training.labels.map((row, i) =>
    row.map((id, j) => (training.valid[i]?.[j] ? id : -100)),
  );
  const loss = softmaxCrossEntropy(
    o.flattenTo(decode(shifted), 2),
    o.flattenTo(integers(counted), 1),
  );
  return checkTraining(loss, root, imported, training);
}
