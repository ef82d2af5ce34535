import { type Command, Option } from 'commander';
import { variantNames } from '../../lib/models/variants.ts';
import {
  type JsonObject,
  mergeConfigs,
  parseSetting,
  readConfigFile,
} from '../../lib/training/config.ts';
import { wholeNumber } from '../args.ts';

/** The options that give a run's config, for `train` and `runs create`. */
export interface ConfigFlags {
  readonly config?: string;
  readonly variant?: string;
  readonly preset?: string;
  readonly data?: string;
  readonly seed?: number;
  readonly threads?: number;
  readonly set: readonly JsonObject[];
}

export const configOptions = (command: Command): Command =>
  command
    .option('--config <file>', 'JSON file of the fields that differ from their defaults')
    .addOption(new Option('--variant <name>', 'variant to train').choices([...variantNames]))
    .option('--preset <name>', 'paper, demo, or a JSON file of sizes')
    .option('--data <place>', 'dataset: mimic:FOLDER, iu:FOLDER or phantom:N')
    .option('--seed <n>', 'seed of everything that is random', wholeNumber)
    .option(
      '--threads <n>',
      'ONNX Runtime threads; another number may round differently',
      wholeNumber,
    )
    .option('--set <field=value>', 'set one field of the config; may be repeated', setting, []);

const setting = (text: string, before: readonly JsonObject[]): readonly JsonObject[] => [
  ...before,
  parseSetting(text),
];

/** The fields that the options give, without defaults: `--set` over options over `--config`. */
export function givenConfig({ config, set, ...options }: ConfigFlags): JsonObject {
  const { variant, preset, data, seed, threads } = options;
  const flags = Object.entries({ variant, preset, data, seed, threads }).filter(
    (entry): entry is [string, string | number] => entry[1] !== undefined,
  );
  const file = config === undefined ? {} : readConfigFile(config);
  return [Object.fromEntries(flags), ...set].reduce<JsonObject>(mergeConfigs, file);
}
