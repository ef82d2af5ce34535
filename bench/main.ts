import { readdirSync } from 'node:fs';

/** `npm run bench -- NAME [options]` runs bench/NAME.ts, which exports `run(args)`. */
const [name, ...args] = process.argv.slice(2);
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ts') && file !== 'main.ts')
  .map((file) => file.slice(0, -'.ts'.length));

if (name === undefined || !names.includes(name)) {
  process.stderr.write(
    `usage: npm run bench -- NAME [options]; NAME is one of: ${names.join(', ')}\n`,
  );
  process.exit(2);
}
const bench = (await import(`./${name}.ts`)) as { run(args: string[]): Promise<void> };
await bench.run(args);
