import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';

const root = fileURLToPath(new URL('../', import.meta.url));

/** Prints the URL of every module that a program loads, when the program ends. */
const hook = `import { registerHooks } from 'node:module';
const loaded = [];
registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
process.on('exit', () => process.stderr.write(loaded.join('\\n')));`;

test('the gateway loads no graph, no model and no engine', async (t) => {
  const { stderr } = await promisify(execFile)(
    process.execPath,
    [
      '--import',
      `data:text/javascript,${encodeURIComponent(hook)}`,
      'services/gateway/main.ts',
      '--help',
    ],
    { cwd: root, maxBuffer: 2 ** 26 },
  );
  const loaded = stderr.split('\n').map((url) => url.replace(`file://${root}`, ''));
  t.true(loaded.includes('services/gateway/server.ts'), 'the hook lists what is loaded');
  // Data and text: the schema of manifests, and how labels become the text of a prompt.
  const allowed = /^lib\/(models\/(names|preset)|image\/preprocessing|inference\/prompt)\.ts$/;
  const forbidden =
    /^lib\/(graph|onnx|models|image|runtime|inference|training|safetensors|checkpoints|data)\/|^node_modules\/(onnxruntime|sharp|@cornerstonejs)/;
  t.deepEqual(
    loaded.filter((path) => forbidden.test(path) && !allowed.test(path)),
    [],
  );
});
