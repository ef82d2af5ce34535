import type { Dataset } from '../../data/dataset.ts';
import { openIu } from '../../data/iu.ts';
import { openMimic } from '../../data/mimic.ts';
import { openPhantom } from '../../data/phantom/dataset.ts';
import { type DomainError, invalidArgument } from '../../errors.ts';

/** Side of a phantom image in pixels: larger than a model's input, as that of a radiograph is. */
const phantomSize = 256;

const kinds: Readonly<
  Record<string, (place: string, options: URLSearchParams) => Promise<Dataset>>
> = {
  mimic: (place, options) => {
    const reports = options.get('reports');
    return openMimic(place, reports === null ? {} : { reports });
  },
  iu: (place) => openIu(place),
  phantom: async (place, options) =>
    openPhantom({
      count: Number(place),
      seed: Number(options.get('seed') ?? 1),
      size: Number(options.get('size') ?? phantomSize),
    }),
};

const known: Readonly<Record<string, readonly string[]>> = {
  mimic: ['reports'],
  iu: [],
  phantom: ['seed', 'size'],
};

/**
 * Checks a dataset's place, `mimic:FOLDER[?reports=PATH]`, `iu:FOLDER` or `phantom:N[?seed=S&size=P]`,
 * and gives the function that opens it. Throws DATA_UNKNOWN that names `field`.
 */
export function parseDataset(spec: string, field = 'data'): () => Promise<Dataset> {
  const [, kind = '', place = '', query = ''] = /^([a-z]+):([^?]+)(?:\?(.*))?$/.exec(spec) ?? [];
  const unknown = (message: string): DomainError => invalidArgument('DATA_UNKNOWN', field, message);
  const open = kinds[kind];
  if (!open) throw unknown(`got ${spec}, expected mimic:FOLDER, iu:FOLDER or phantom:N`);
  const options = new URLSearchParams(query);
  for (const name of options.keys()) {
    if (known[kind]?.includes(name)) continue;
    throw unknown(`${kind} takes no ${name}; it takes ${known[kind]?.join(', ') || 'nothing'}`);
  }
  const numbers = kind === 'phantom' ? [['N', place], ...options] : [];
  for (const [name = '', value = ''] of numbers) {
    if (/^\d{1,9}$/.test(value)) continue;
    throw unknown(`${name} of phantom: got ${value}, expected a whole number below 10^9`);
  }
  return () => open(place, options);
}

/** Opens a dataset by its place. Throws DATA_UNKNOWN, and what the dataset throws. */
export const openDataset = async (spec: string): Promise<Dataset> => parseDataset(spec)();
