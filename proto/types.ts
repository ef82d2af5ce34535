import { format } from 'oxfmt';
import protobuf from 'protobufjs';
import { fullName, parseSchema, walk } from './schema.ts';

const scalars: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    'double float int32 uint32 sint32 fixed32 sfixed32 int64 uint64 sint64 fixed64 sfixed64'
      .split(' ')
      .map((name) => [name, 'number']),
  ),
  bool: 'boolean',
  string: 'string',
  bytes: 'Bytes',
};

const head = `// Made from the files in proto/ by \`npm run proto\`: change those.

/** A Buffer when it was received; anything of bytes may be sent. */
type Bytes = Uint8Array;

/** What may be given where a message is sent: a field that is absent has its default. */
export type Sent<T> = T extends Bytes
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Sent<Item>[]
    : T extends object
      ? { readonly [Field in keyof T]?: Sent<T[Field]> | undefined }
      : T;

/** One method of a service. */
export interface Method<Request, Response, RequestStream, ResponseStream> {
  readonly request: Request;
  readonly response: Response;
  readonly requestStream: RequestStream;
  readonly responseStream: ResponseStream;
}
`;

const doc = (comment: string | null | undefined, indent = ''): string => {
  if (comment == null) return '';
  const lines = comment.trim().split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  const middle = lines.map((line) => `${indent} * ${line}`.trimEnd());
  return `${indent}/**\n${middle.join('\n')}\n${indent} */\n`;
};

function fieldType(field: protobuf.Field): string {
  const base = field.resolvedType?.name ?? scalars[field.type];
  if (base === undefined) throw new Error(`${field.fullName}: no type for ${field.type}`);
  if (field instanceof protobuf.MapField) return `Readonly<Record<string, ${base}>>`;
  if (field.repeated) return `readonly ${base}[]`;
  const absent = field.resolvedType instanceof protobuf.Type && field.partOf === null;
  return absent ? `${base} | null` : base;
}

function fieldLine(field: protobuf.Field): string {
  const optional = field.partOf === null ? '' : '?';
  return `${doc(field.comment, '  ')}  readonly ${field.name}${optional}: ${fieldType(field)};\n`;
}

/** Which field of a oneof is set; proto3 optional fields are oneofs of one, and need none. */
const choiceLine = (choice: protobuf.OneOf): string =>
  choice.name.startsWith('_')
    ? ''
    : `  readonly ${choice.name}?: ${choice.oneof.map((name) => `'${name}'`).join(' | ')};\n`;

const lowerFirst = (name: string): string => name[0]!.toLowerCase() + name.slice(1);

function declaration(object: protobuf.ReflectionObject): string {
  const comment = doc(object.comment);
  if (object instanceof protobuf.Enum) {
    const values = Object.keys(object.values).map(
      (name) => `${doc(object.comments[name], '  ')}  | '${name}'`,
    );
    return `${comment}export type ${object.name} =\n${values.join('\n')};\n`;
  }
  if (object instanceof protobuf.Service) {
    const methods = object.methodsArray.map((method) => {
      const types = [method.resolvedRequestType, method.resolvedResponseType];
      const names = types.map((type) => type?.name).join(', ');
      const streams = `${method.requestStream === true}, ${method.responseStream === true}`;
      const line = `  readonly ${lowerFirst(method.name)}: Method<${names}, ${streams}>;\n`;
      return `${doc(method.comment, '  ')}${line}`;
    });
    return `${comment}export interface ${object.name}Methods {\n${methods.join('')}}\n`;
  }
  const type = object as protobuf.Type;
  const lines = [...type.fieldsArray.map(fieldLine), ...type.oneofsArray.map(choiceLine)];
  return `${comment}export interface ${object.name} {\n${lines.join('')}}\n`;
}

/** TypeScript types of all messages and services, as they are received; formatted. */
export async function typesSource(): Promise<string> {
  const root = parseSchema();
  const ours = [...walk(root)].filter((object) => fullName(object).startsWith('radscribe.'));
  const used = new Set<protobuf.ReflectionObject>();
  const take = (object: protobuf.ReflectionObject | null): void => {
    if (object === null || used.has(object)) return;
    used.add(object);
    if (object instanceof protobuf.Type) {
      for (const field of object.fieldsArray) take(field.resolvedType);
    }
  };
  for (const object of ours) take(object);
  const source = [head, ...[...used].map(declaration)].join('\n');
  const { code } = await format('messages.ts', source, { printWidth: 100, singleQuote: true });
  return code;
}
