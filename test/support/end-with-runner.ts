/** Required by every test process (ava.config.js): it ends with the runner, and its own children with it. */
import { endWithParent } from '../../lib/parent.ts';

endWithParent();
