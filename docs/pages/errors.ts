import path from 'node:path';
import { errorReasons } from '../error-reasons.ts';
import { code, table, written } from './markdown.ts';

/** docs/reference/errors.md: every reason that an error of the sources can have. */
export function errorsPage(): string {
  const rows = errorReasons().map(({ reason, codes, files }) => [
    code(reason),
    codes.map(code).join(', '),
    [...new Set(files.map((file) => path.dirname(file)))].map(code).join(', '),
  ]);
  return [
    written('the errors of lib/, services/ and cli/'),
    '# Error reasons',
    'The `reason` of the `google.rpc.ErrorInfo` of an error. A reason keeps its meaning and its code ([versioning](../versioning.md)); the message is for people and may change. The code is empty where it comes from another error. Reasons of `cli` and of training are not sent by the gateway.',
    table(['reason', 'status code', 'where it is raised'], rows),
  ].join('\n\n');
}
