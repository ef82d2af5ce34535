import type { Priority as Urgency } from '../runtime/queue.ts';
import type { Priority } from './messages.ts';

/** Without a word, somebody waits. */
export const priorityOf = (priority: Priority): Urgency =>
  priority === 'PRIORITY_BATCH' ? 'batch' : 'interactive';
