import { runProgram } from '../../lib/service/main.ts';
import { settings } from './config.ts';
import { start } from './server.ts';

const title = 'The vision service of RadScribe: an image in, visual tokens out.';
const { argv, env } = process;
await runProgram({ name: 'vision', title, settings, receivesImages: true, start }, { argv, env });
