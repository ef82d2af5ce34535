import { runProgram } from '../../lib/service/main.ts';
import { settings } from './config.ts';
import { start } from './server.ts';

const title = 'The vision service of RadScribe: a radiograph in, visual tokens out.';
const { argv, env } = process;
await runProgram({ name: 'vision', title, settings, takesPictures: true, start }, { argv, env });
