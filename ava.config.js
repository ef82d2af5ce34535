export default {
  extensions: ['ts'],
  files: ['test/**/*.test.ts'],
  // Sessions own native threads and two cores are all a newcomer may have.
  concurrency: 2,
  // A thread that ends while ONNX Runtime works in it takes its whole process along.
  workerThreads: false,
  // Tests that load ONNX Runtime themselves must not let it call home either (lib/runtime/port.ts).
  environmentVariables: { ORT_DISABLE_TELEMETRY: '1' },
  require: ['./test/support/end-with-runner.ts'],
  // Without one result more; a machine with much other work needs minutes for the longest test.
  timeout: '30m',
};
