import { runProgram } from '../../lib/service/main.ts';
import { settings } from './config.ts';
import { start } from './server.ts';

const title = 'The generator service of RadScribe: visual tokens in, the text of a report out.';
const { argv, env } = process;
await runProgram({ name: 'generator', title, settings, start }, { argv, env });
