import { open } from 'node:fs/promises';
import { DomainError } from '../errors.ts';
import { openSafetensors } from '../safetensors/safetensors.ts';
import { type ForeignWeights, malformed } from './foreign.ts';
import { openFlax } from './flax.ts';
import { openTorchLegacy } from './torch-legacy.ts';
import { openTorchTar } from './torch-tar.ts';
import { openTorchZip } from './torch-zip.ts';

async function openSafetensorsWeights(path: string): Promise<ForeignWeights> {
  const file = await openSafetensors(path);
  const tensors = file.names.map((name) => {
    const { dtype, shape } = file.info(name);
    return [name, { dtype, shape, read: () => file.read(name) }] as const;
  });
  return {
    path,
    format: 'safetensors',
    tensors: new Map(tensors),
    close: () => file.close(),
  };
}

type Opener = (path: string) => Promise<ForeignWeights>;

/** Formats by how their files begin. */
const formats: readonly (readonly [(head: Buffer) => boolean, Opener])[] = [
  [(head) => head[8] === 0x7b && head.readUInt32LE(4) === 0, openSafetensorsWeights],
  [(head) => head.toString('latin1', 0, 4) === 'PK\x03\x04', openTorchZip],
  [(head) => head.toString('latin1', 257, 262) === 'ustar', openTorchTar],
  // A pickle of protocol 2 to 5; as msgpack it would be an empty map.
  [(head) => head[0] === 0x80 && [2, 3, 4, 5].includes(head[1] ?? 0), openTorchLegacy],
  [(head) => isMap(head[0] ?? 0), openFlax],
];

/** How a msgpack map begins. */
const isMap = (first: number): boolean =>
  (first >= 0x80 && first < 0x90) || first === 0xde || first === 0xdf;

/**
 * Opens a published checkpoint by its content, not by its name: .safetensors, PyTorch's zip, its older
 * pickle and tar formats, Flax's msgpack. Throws NOT_FOUND, or INVALID_ARGUMENT for a file that is none of
 * these, is damaged, or requests more than weights.
 */
export async function openForeignWeights(path: string): Promise<ForeignWeights> {
  const head = Buffer.alloc(512);
  try {
    await using file = await open(path);
    await file.read(head, 0, head.length, 0);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    const details = { field: path, cause };
    throw new DomainError('NOT_FOUND', 'FILE_NOT_FOUND', `${path}: no such file`, details);
  }
  const format = formats.find(([begins]) => begins(head));
  if (!format) {
    throw malformed(
      path,
      'is not a checkpoint: expected .safetensors, a PyTorch .pth or .bin, or a Flax .msgpack',
    );
  }
  return format[1](path);
}
