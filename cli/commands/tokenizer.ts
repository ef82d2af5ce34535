import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { type Command, Option } from 'commander';
import { exists, missing } from '../../lib/data/files.ts';
import { loadTokenizer, trainUnigram, trainWordPiece } from '../../lib/text/tokenizer.ts';
import {
  tokenizerFromSentencePiece,
  tokenizerFromVocabulary,
} from '../../lib/text/tokenizer-import.ts';
import type { TokenizerJson } from '../../lib/text/tokenizer-json.ts';
import { writeAtomically } from '../../lib/atomic.ts';
import { count, wholeNumber } from '../args.ts';

const trainers = { wordpiece: trainWordPiece, unigram: trainUnigram } as const;

/** `radscribe tokenizer …`: tokenizer.json files from other formats, or from texts. */
export function registerTokenizer(program: Command): void {
  const tokenizer = program
    .command('tokenizer')
    .description('make tokenizer.json files: of BERT for the encoder, of T5 for the decoder');
  tokenizer
    .command('convert')
    .description('convert the vocab.txt of a BERT or the spiece.model of a T5 checkpoint')
    .argument(
      '<file>',
      'vocab.txt (one token a line), or a sentencepiece .model of the Unigram kind',
    )
    .requiredOption('--output <file>', 'the tokenizer.json to write')
    .option('--cased', 'vocab.txt: the model is case-sensitive')
    .option('--extra-ids <n>', '.model: sentinels <extra_id_…> after the pieces', wholeNumber, 100)
    .action(async (file: string, options: Destination & ConvertOptions) =>
      write(await convert(file, options), options),
    );
  tokenizer
    .command('train')
    .description('train a small tokenizer on texts')
    .argument('<file>', 'one text per line')
    .addOption(
      new Option('--kind <kind>', 'wordpiece for the encoder, unigram for the decoder')
        .choices(Object.keys(trainers))
        .makeOptionMandatory(),
    )
    .requiredOption('--size <n>', 'maximum vocabulary, including special tokens', count)
    .requiredOption('--output <file>', 'the tokenizer.json to write')
    .action(async (file: string, options: Destination & TrainOptions) =>
      write(trainers[options.kind](await readTexts(file), options.size), options),
    );
}

interface Destination {
  readonly output: string;
}

interface ConvertOptions {
  readonly cased?: true;
  readonly extraIds: number;
}

interface TrainOptions {
  readonly kind: keyof typeof trainers;
  readonly size: number;
}

async function convert(file: string, { cased, extraIds }: ConvertOptions): Promise<TokenizerJson> {
  if (!(await exists(file))) throw missing(file);
  const bytes = await readFile(file);
  return file.endsWith('.txt')
    ? tokenizerFromVocabulary(bytes.toString('utf8'), { lowercase: !cased })
    : tokenizerFromSentencePiece(bytes, { extraIds });
}

async function readTexts(file: string): Promise<readonly string[]> {
  if (!(await exists(file))) throw missing(file);
  const texts: string[] = [];
  for await (const line of createInterface({ input: createReadStream(file) })) texts.push(line);
  return texts;
}

async function write(json: TokenizerJson, { output }: Destination): Promise<void> {
  const { vocabularySize } = loadTokenizer(json);
  await writeAtomically(output, async (file) => file.writeFile(`${JSON.stringify(json)}\n`));
  process.stdout.write(`${output}: ${json.model.type}, ${vocabularySize} tokens\n`);
}
