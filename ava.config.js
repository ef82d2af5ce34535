export default {
  extensions: ['ts'],
  files: ['test/**/*.test.ts'],
  // Sessions own native threads and two cores are all a newcomer may have.
  concurrency: 2,
  timeout: '5m',
};
