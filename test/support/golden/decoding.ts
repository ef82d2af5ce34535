import type { Tensor } from '../../../lib/graph/types.ts';
import type { T5Config } from '../../../lib/models/t5.ts';
import type { GenerateRequest } from '../../../lib/runtime/decode/generator.ts';
import { parseDecodingOptions } from '../../../lib/releases/decoding.ts';
import { openSmallGenerator } from '../generator.ts';
import { weightsIn } from '../models.ts';
import { type Comparison, compareExactly, compareNumber, tolerances } from './compare.ts';
import type { T5Golden } from './t5-file.ts';
import { ruledTensor } from './rule.ts';

type Ids = readonly number[];
interface Beam {
  readonly score: number;
  readonly ids: Ids;
}

/** The rows of the golden file as requests; their masks end in zeros, which text of a length stands for. */
function requestsOf(golden: T5Golden): GenerateRequest[] {
  const encoded = ruledTensor(golden.encoder_hidden_states);
  const [, length = 0, width = 0] = encoded.shape;
  return golden.encoder_attention_mask.map((mask, row) => {
    const data = encoded.data.slice(row * length * width, (row + 1) * length * width);
    const tokens: Tensor = { dtype: 'float32', shape: [length, width], data };
    const seen = mask.filter((one) => one === 1).length;
    return { tokens, textIds: Array.from({ length: seen - 1 }, () => 0) };
  });
}

/** `greedy_ids_{n}_steps_no_eos` and `beam{n}_{m}_steps_no_eos`, an entry a row, through the generator. */
export async function checkDecoding(
  golden: T5Golden,
  config: T5Config,
  weights: ReadonlyMap<string, Tensor>,
): Promise<Comparison[]> {
  const memoryTokens = Number(golden.encoder_hidden_states.shape[1]);
  const model = { config, weights: weightsIn(weights), memoryTokens };
  const { generator, close } = await openSmallGenerator(model, { eos: -1, maxRows: 64 });
  const requests = requestsOf(golden);
  const comparisons: Comparison[] = [];
  try {
    for (const [name, expected] of Object.entries(golden)) {
      const [, beams, steps] = /^(?:greedy_ids|beam(\d+))_(\d+)_steps_no_eos$/.exec(name) ?? [];
      if (steps === undefined) continue;
      const length = { maxTokens: Number(steps) };
      const options = parseDecodingOptions(
        beams === undefined
          ? length
          : { ...length, strategy: 'beam', beams: Number(beams), lengthPenalty: 0 },
      );
      const results = await Promise.all(requests.map((each) => generator.generate(each, options)));
      for (const [row, { ids, score }] of results.entries()) {
        const wanted = (expected as readonly (Ids | Beam)[])[row];
        const what = `${name} of row ${row}`;
        const beam = wanted && 'score' in wanted ? wanted : undefined;
        const path = beam?.ids ?? (wanted as Ids);
        comparisons.push(compareExactly(what, [0, ...ids], path));
        if (!beam) continue;
        comparisons.push(compareNumber(`${what}: score`, score, beam.score, tolerances.float32));
      }
    }
  } finally {
    await close();
  }
  return comparisons;
}
