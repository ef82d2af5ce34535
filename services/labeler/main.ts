import { runProgram } from '../../lib/service/main.ts';
import { settings } from './config.ts';
import { start } from './server.ts';

const title = 'The labeler service of RadScribe: an image embedding in, 14 observations out.';
const { argv, env } = process;
await runProgram({ name: 'labeler', title, settings, start }, { argv, env });
