import { trainerService } from '../../lib/rpc/services.ts';
import type { Peer } from '../client.ts';

/** The trainer service that `--server` names. */
export const trainerAt = (address: string): Peer<typeof trainerService> => ({
  service: trainerService,
  name: 'trainer',
  address,
  advice: 'start one with `node services/trainer/main.ts`, or give another --server',
});
