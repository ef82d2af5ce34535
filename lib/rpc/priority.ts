import type { Priority } from '../runtime/request-queue.ts';
import type { Priority as PriorityMessage } from './messages.ts';

/** PRIORITY_UNSPECIFIED is interactive. */
export const priorityOf = (priority: PriorityMessage): Priority =>
  priority === 'PRIORITY_BATCH' ? 'bulk' : 'interactive';
