import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { Throughput } from '../lib/training/throughput.ts';

test('speed, what is left and the share of the processors come from the steps after the first run', async (t) => {
  const throughput = new Throughput(100);
  t.deepEqual(throughput.after(10, 160, 1600), {
    studiesPerSecond: 0,
    tokensPerSecond: 0,
    etaSeconds: null,
  });
  const from = performance.now();
  while (performance.now() - from < 30) Math.sqrt(performance.now());
  await sleep(30);
  const speed = throughput.after(20, 160, 1600);
  t.true(Math.abs(speed.tokensPerSecond / speed.studiesPerSecond - 10) < 1e-9);
  t.true(Math.abs((speed.etaSeconds ?? 0) / (160 / speed.studiesPerSecond) - 8) < 1e-9);
  t.true((speed.cpuUtilization ?? 0) > 0 && (speed.cpuUtilization ?? 2) <= 1);
});
