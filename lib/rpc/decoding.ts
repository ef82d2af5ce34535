import type { DecodingInput } from '../releases/decoding.ts';
import type { DecodingOptions, DecodingStrategy, EarlyStopping } from './messages.ts';

const strategies = {
  DECODING_STRATEGY_GREEDY: 'greedy',
  DECODING_STRATEGY_BEAM: 'beam',
  DECODING_STRATEGY_SAMPLE: 'sample',
} as const satisfies Partial<Record<DecodingStrategy, DecodingInput['strategy']>>;

const stoppings = {
  EARLY_STOPPING_LIKELY: false,
  EARLY_STOPPING_FIRST: true,
  EARLY_STOPPING_NEVER: 'never',
} as const satisfies Partial<Record<EarlyStopping, DecodingInput['earlyStopping']>>;

/**
 * The decoding options of a request; options that it leaves to the release are absent. Nothing is
 * validated: `parseDecodingOptions` refuses what the schema does not know.
 */
export function decodingInput(options: DecodingOptions | null): DecodingInput {
  const { strategy, earlyStopping, ...numbers } = options ?? {};
  const given = {
    ...numbers,
    ...(strategy !== 'DECODING_STRATEGY_UNSPECIFIED' && {
      strategy: meaningOf(strategies, strategy),
    }),
    ...(earlyStopping !== 'EARLY_STOPPING_UNSPECIFIED' && {
      earlyStopping: meaningOf(stoppings, earlyStopping),
    }),
  };
  // The proto loader adds `_field` for each optional field that is present.
  const present = Object.entries(given).filter(
    ([name, value]) => value !== undefined && !name.startsWith('_'),
  );
  return Object.fromEntries(present) as DecodingInput;
}

const meaningOf = (
  meanings: Readonly<Record<string, unknown>>,
  name: string | undefined,
): unknown => (name !== undefined && Object.hasOwn(meanings, name) ? meanings[name] : name);
