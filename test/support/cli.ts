import { Command } from 'commander';
import { commands } from '../../cli/commands/index.ts';

/**
 * Runs a `radscribe` command in this process and gives what it printed to standard output; an error that
 * the command line would print is thrown. For serial tests: what others print meanwhile is captured too.
 */
export async function radscribe(...args: readonly string[]): Promise<string> {
  const program = new Command('radscribe').exitOverride();
  for (const register of commands) register(program);
  const printed: string[] = [];
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = (text: string | Uint8Array) => {
    printed.push(String(text));
    return true;
  };
  try {
    await program.parseAsync([...args], { from: 'user' });
  } finally {
    process.stdout.write = write;
  }
  return printed.join('');
}
