import type { Command } from 'commander';
import { registerLabel } from './label.ts';

/** Every subcommand, in the order `radscribe --help` lists them. */
export const commands: readonly ((program: Command) => void)[] = [registerLabel];
