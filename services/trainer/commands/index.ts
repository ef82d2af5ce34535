import type { Command } from 'commander';

/** Every subcommand, in the order `radscribe --help` lists them. */
export const commands: readonly ((program: Command) => void)[] = [];
