import type { T5Config } from '../../../lib/models/t5.ts';
import type { Summary } from './compare.ts';
import type { Ruled } from './rule.ts';
import type { GoldenParameter, GoldenTraining } from './weights.ts';

export type Matrix = readonly (readonly number[])[];

export interface T5Golden {
  readonly config: Readonly<Record<string, number>>;
  readonly params: readonly GoldenParameter[];
  readonly encoder_hidden_states: Ruled;
  readonly encoder_attention_mask: Matrix;
  readonly decoder_input_ids: Matrix;
  readonly logits: Summary;
  readonly training?: GoldenTraining & { readonly labels: Matrix; readonly valid: Matrix };
}

export const t5Config = (config: T5Golden['config']): T5Config => ({
  dModel: config['d_model'] ?? 0,
  dKv: config['d_kv'] ?? 0,
  heads: config['num_heads'] ?? 0,
  dFf: config['d_ff'] ?? 0,
  layers: config['num_decoder_layers'] ?? 0,
  vocabulary: config['vocab_size'] ?? 0,
  buckets: config['relative_attention_num_buckets'] ?? 32,
  maxDistance: config['relative_attention_max_distance'] ?? 128,
});
