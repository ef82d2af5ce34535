import type { Dataset } from '../../data/dataset.ts';
import { openIu } from '../../data/iu.ts';
import { openMimic } from '../../data/mimic.ts';
import { openPhantom } from '../../data/phantom/dataset.ts';
import { invalidArgument } from '../../errors.ts';

/** Pixels a phantom film has: more than a model sees, as a real one does. */
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
      count: whole(place, 'phantom:N'),
      seed: whole(options.get('seed') ?? '1', 'seed'),
      size: whole(options.get('size') ?? `${phantomSize}`, 'size'),
    }),
};

const known: Readonly<Record<string, readonly string[]>> = {
  mimic: ['reports'],
  iu: [],
  phantom: ['seed', 'size'],
};

/**
 * Opens a dataset by its place: `mimic:FOLDER[?reports=PATH]`, `iu:FOLDER`, `phantom:N[?seed=S&size=P]`.
 * Throws DATA_UNKNOWN, and what the dataset throws.
 */
export async function openDataset(spec: string): Promise<Dataset> {
  const [, kind = '', place = '', query = ''] = /^([a-z]+):([^?]+)(?:\?(.*))?$/.exec(spec) ?? [];
  const open = kinds[kind];
  if (!open) {
    const message = `got ${spec}, expected mimic:FOLDER, iu:FOLDER or phantom:N`;
    throw invalidArgument('DATA_UNKNOWN', 'data', message);
  }
  const options = new URLSearchParams(query);
  for (const name of options.keys()) {
    if (known[kind]?.includes(name)) continue;
    const message = `${kind} takes no ${name}; it takes ${known[kind]?.join(', ') || 'nothing'}`;
    throw invalidArgument('DATA_UNKNOWN', 'data', message);
  }
  return open(place, options);
}

function whole(text: string, what: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw invalidArgument('DATA_UNKNOWN', 'data', `${what}: got ${text}, expected a whole number`);
}
