import { invalidArgument } from '../errors.ts';

/** One setting of a program: its environment variable, its meaning, its default. */
export interface Setting<T> {
  /** The name of the environment variable. */
  readonly env: string;
  readonly doc: string;
  /** As `--help` prints it, e.g. `50051`; '' for none. */
  readonly standard: string;
  /** Parses a value; '' gives the default. Throws a sentence fragment that says what was expected. */
  readonly parse: (text: string) => T;
}

export type Settings = Readonly<Record<string, Setting<unknown>>>;

/** The values of a table of settings. */
export type Config<Table extends Settings> = {
  readonly [Name in keyof Table]: Table[Name] extends Setting<infer T> ? T : never;
};

export type Environment = Readonly<Record<string, string | undefined>>;

const prefixed = (name: string): string => (name.startsWith('OTEL_') ? name : `RADSCRIBE_${name}`);

function setting<T>(
  name: string,
  standard: string,
  doc: string,
  parse: (text: string) => T,
): Setting<T> {
  return {
    env: prefixed(name),
    doc,
    standard,
    parse: (text) => parse(text === '' ? standard : text),
  };
}

export const text = (name: string, standard: string, doc: string): Setting<string> =>
  setting(name, standard, doc, (value) => value);

/** A text without a default. */
export const optional = (name: string, doc: string): Setting<string | undefined> =>
  setting(name, '', doc, (value) => (value === '' ? undefined : value));

/** Comma-separated texts. */
export const list = (name: string, standard: string, doc: string): Setting<readonly string[]> =>
  setting(name, standard, doc, (value) =>
    value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  );

export function integer(
  name: string,
  standard: number,
  doc: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER } = {},
): Setting<number> {
  return setting(name, String(standard), doc, (value) => {
    const number = Number(value);
    if (Number.isSafeInteger(number) && number >= min && number <= max) return number;
    throw new Error(`expected an integer from ${min} to ${max}`);
  });
}

/** A number from 0 to 1. */
export const share = (name: string, standard: number, doc: string): Setting<number> =>
  setting(name, String(standard), doc, (value) => {
    const number = Number(value);
    if (number >= 0 && number <= 1) return number;
    throw new Error('expected a number from 0 to 1');
  });

export const choice = <T extends string>(
  name: string,
  standard: T,
  choices: readonly T[],
  doc: string,
): Setting<T> =>
  setting(name, standard, `${doc}: ${choices.join(', ')}`, (value) => {
    const found = choices.find((item) => item === value);
    if (found !== undefined) return found;
    throw new Error(`expected one of ${choices.join(', ')}`);
  });

/** Reads every setting. Throws INVALID_ARGUMENT naming the first invalid variable. */
export function readConfig<Table extends Settings>(
  table: Table,
  environment: Environment,
): Config<Table> {
  const values = Object.entries(table).map(([name, { env, parse }]) => {
    const given = environment[env]?.trim() ?? '';
    try {
      return [name, parse(given)];
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      const message = `is ${JSON.stringify(given)}; ${why}`;
      throw invalidArgument('CONFIG_INVALID', env, message, { cause });
    }
  });
  return Object.fromEntries(values) as Config<Table>;
}

/** What `--help` prints: every variable, its default, its meaning. */
export function settingsHelp(title: string, table: Settings): string {
  const rows = Object.values(table).map(({ env, standard, doc }) => [env, standard || '-', doc]);
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map(
    ([env, standard, doc]) =>
      `  ${env!.padEnd(widths[0]!)}  ${standard!.padEnd(widths[1]!)}  ${doc}`,
  );
  return [title, '', 'Settings, from the environment:', '', ...lines, ''].join('\n');
}
