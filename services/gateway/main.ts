import { runProgram } from '../../lib/service/main.ts';
import { settings } from './config.ts';
import { start } from './server.ts';

const title = 'The gateway of RadScribe: accepts radiographs and returns reports.';
const { argv, env } = process;
await runProgram({ name: 'gateway', title, settings, receivesImages: true, start }, { argv, env });
