export default {
  extensions: ['ts'],
  files: ['test/**/*.test.ts'],
  // Sessions own native threads and two cores are all a newcomer may have.
  concurrency: 2,
  // A thread that ends while ONNX Runtime works in it takes its whole process along.
  workerThreads: false,
  timeout: '5m',
};
