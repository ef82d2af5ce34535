/**
 * Runs a program that knows nothing of our processes, and ends it with the one that started this:
 * `watchdog.ts PROGRAM ARGUMENT...`, with an IPC channel.
 */
import { spawn } from 'node:child_process';

const [program = '', ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: 'inherit' });
child.once('exit', (code) => process.exit(code ?? 1));
process.once('SIGTERM', () => child.kill());
process.once('disconnect', () => child.kill('SIGKILL'));
if (!process.connected) child.kill('SIGKILL');
