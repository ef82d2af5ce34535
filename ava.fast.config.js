import all from './ava.config.js';

/** What runs in seconds: no processes, no services, no training. `npm run test:fast`. */
const names = [
  'admission',
  'batcher',
  'config',
  'data-*',
  'decode*',
  'errors',
  'flops',
  'fusion',
  'gateway-*',
  'graph',
  'image-grey',
  'image-preprocess',
  'labels',
  'onnx',
  'proto',
  'inference',
  'passes',
  'queue',
  'trainer-metrics',
  'release-holder',
  'rpc*',
  'safetensors',
  'sections',
  'telemetry',
  'text-metrics',
  'trainer-config',
  'trainer-order',
];

export default { ...all, files: names.map((name) => `test/${name}.test.ts`) };
