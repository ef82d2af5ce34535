import { parentPort } from 'node:worker_threads';
import { decodeDicom } from './dicom.ts';
import { ImageRefused } from './limits.ts';
import type { Job, Reply } from './pool.ts';

/** One decoding thread of `pool.ts`: it handles one job at a time. */
const port = parentPort!;
port.on('message', ({ bytes, limits }: Job) => {
  void decodeDicom(bytes, limits).then(
    (image) => reply({ image }, [image.pixels.buffer as ArrayBuffer]),
    (thrown: unknown) =>
      reply({
        refused:
          thrown instanceof ImageRefused
            ? { reason: thrown.reason, message: thrown.message }
            : undefined,
      }),
  );
});

function reply(message: Reply, transfer: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}
