import { DomainError } from '../../lib/errors.ts';
import { evaluateRelease } from '../../lib/training/evaluation/release.ts';

export type Evaluate = typeof evaluateRelease;

/** `evaluateRelease`, once at a time. Throws EVALUATION_BUSY while another evaluation is running. */
export function evaluateOneAtATime(evaluate: Evaluate = evaluateRelease): Evaluate {
  let isBusy = false;
  return async (options) => {
    if (isBusy) {
      const message =
        'another evaluation is running, which uses all cores; try again when it has ended';
      throw new DomainError('RESOURCE_EXHAUSTED', 'EVALUATION_BUSY', message);
    }
    isBusy = true;
    try {
      return await evaluate(options);
    } finally {
      isBusy = false;
    }
  };
}
