#!/usr/bin/env node
import { Command } from 'commander';
import { DomainError } from '../lib/errors.ts';
import { endWithParent } from '../lib/parent.ts';
import { commands } from './commands/index.ts';

endWithParent();

/** Exit codes: 0 done, 1 the work failed, 2 the command or its input was wrong. */
const program = new Command('radscribe')
  .description('Train, evaluate, release and use chest X-ray report models.')
  .showHelpAfterError()
  .exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : 2);
  });
for (const register of commands) register(program);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof DomainError)) throw error;
  process.stderr.write(`radscribe: ${error.message}\n`);
  process.exitCode = error.code === 'INVALID_ARGUMENT' || error.code === 'NOT_FOUND' ? 2 : 1;
}
