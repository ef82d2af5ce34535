import { runProgram } from '../../lib/service/main.ts';
import { start } from './server.ts';
import { settings } from './config.ts';

const title = 'The trainer of RadScribe: datasets in, releases out.';
const { argv, env } = process;
await runProgram({ name: 'trainer', title, settings, start }, { argv, env });
