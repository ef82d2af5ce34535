import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import { fullName, parseSchema, walk } from './schema.ts';

/** What is promised to callers: every name with its number and type. Sorted, plain JSON. */
export type Surface = Readonly<Record<string, string>>;

/** Where the published surface is kept. */
export const surfacePath = new URL('surface.json', import.meta.url);

/** The surface of the files as they are. */
export function surfaceOf(root: protobuf.Root = parseSchema()): Surface {
  const entries: [string, string][] = [];
  for (const object of walk(root)) {
    const name = fullName(object);
    if (!name.startsWith('radscribe.')) continue;
    if (object instanceof protobuf.Enum) {
      for (const [value, id] of Object.entries(object.values)) {
        entries.push([`${name}.${value}`, `= ${id}`]);
      }
    } else if (object instanceof protobuf.Service) {
      for (const method of object.methodsArray) {
        const side = (stream: boolean | undefined, type: protobuf.Type | null): string =>
          `${stream ? 'stream ' : ''}${type === null ? '?' : fullName(type)}`;
        const request = side(method.requestStream, method.resolvedRequestType);
        const response = side(method.responseStream, method.resolvedResponseType);
        entries.push([`${name}.${method.name}`, `(${request}) returns (${response})`]);
      }
    } else if (object instanceof protobuf.Type) {
      for (const field of object.fieldsArray) entries.push([`${name}.${field.name}`, shape(field)]);
    }
  }
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function shape(field: protobuf.Field): string {
  const type = field.resolvedType === null ? field.type : fullName(field.resolvedType);
  const of =
    field.partOf === null || field.partOf.name.startsWith('_') ? '' : ` of ${field.partOf.name}`;
  const key = field instanceof protobuf.MapField ? `map ${field.keyType} ` : '';
  return `= ${field.id} ${field.repeated ? 'repeated ' : ''}${key}${type}${of}`;
}

/** The surface that was published. */
export const publishedSurface = (): Surface =>
  JSON.parse(readFileSync(surfacePath, 'utf8')) as Surface;

/** What an older client or server would not understand any more: a sentence each. */
export function breakingChanges(published: Surface, now: Surface): string[] {
  return Object.entries(published).flatMap(([name, was]) => {
    const is = now[name];
    if (is === was) return [];
    return is === undefined ? [`${name} was removed`] : [`${name} was \`${was}\`, is \`${is}\``];
  });
}

/** What our conventions ask for and a file does not keep: a sentence each. */
export function styleErrors(root: protobuf.Root = parseSchema()): string[] {
  const errors: string[] = [];
  for (const object of walk(root)) {
    if (!fullName(object).startsWith('radscribe.')) continue;
    errors.push(...undocumented(object));
    if (object instanceof protobuf.Enum) errors.push(...enumErrors(object));
    if (object instanceof protobuf.Service) errors.push(...serviceErrors(object));
  }
  return errors;
}

function undocumented(object: protobuf.ReflectionObject): string[] {
  const comments: [string, string | null | undefined][] = [[fullName(object), object.comment]];
  if (object instanceof protobuf.Enum) {
    for (const value of Object.keys(object.values)) {
      comments.push([`${fullName(object)}.${value}`, object.comments[value]]);
    }
  } else if (object instanceof protobuf.Service) {
    for (const method of object.methodsArray) comments.push([fullName(method), method.comment]);
  } else if (object instanceof protobuf.Type) {
    for (const field of object.fieldsArray) comments.push([fullName(field), field.comment]);
  }
  return comments.flatMap(([name, comment]) => {
    if (!comment?.trim()) return [`${name} has no comment`];
    return /[.?!]$/.test(comment.trim()) ? [] : [`the comment of ${name} is no sentence`];
  });
}

function enumErrors(object: protobuf.Enum): string[] {
  const prefix = object.name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '_').toUpperCase();
  const zero = object.valuesById[0];
  return [
    ...(zero === `${prefix}_UNSPECIFIED`
      ? []
      : [`${fullName(object)} has no ${prefix}_UNSPECIFIED = 0`]),
    ...Object.keys(object.values)
      .filter((value) => !value.startsWith(`${prefix}_`))
      .map((value) => `${fullName(object)}.${value} does not begin with ${prefix}_`),
  ];
}

function serviceErrors(object: protobuf.Service): string[] {
  return [
    ...(object.name.endsWith('Service') ? [] : [`${fullName(object)} does not end in Service`]),
    ...object.methodsArray
      .filter(({ resolvedRequestType }) => !resolvedRequestType?.name.endsWith('Request'))
      .map((method) => `the request of ${fullName(method)} does not end in Request`),
  ];
}
