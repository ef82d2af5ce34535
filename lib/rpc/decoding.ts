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
 * What a request says of decoding; what it leaves to the release is absent. Nothing is checked: a
 * name that the schema does not know is passed on for `parseDecodingOptions` to refuse.
 */
export function decodingInput(options: DecodingOptions | null): DecodingInput {
  const { strategy, earlyStopping, ...numbers } = options ?? {};
  const given = {
    ...numbers,
    ...(strategy !== 'DECODING_STRATEGY_UNSPECIFIED' && { strategy: look(strategies, strategy) }),
    ...(earlyStopping !== 'EARLY_STOPPING_UNSPECIFIED' && {
      earlyStopping: look(stoppings, earlyStopping),
    }),
  };
  // The loader says of each optional field, as `_field`, whether it came.
  const present = Object.entries(given).filter(
    ([name, value]) => value !== undefined && !name.startsWith('_'),
  );
  return Object.fromEntries(present) as DecodingInput;
}

const look = (meanings: Readonly<Record<string, unknown>>, name: string | undefined): unknown =>
  name !== undefined && Object.hasOwn(meanings, name) ? meanings[name] : name;
