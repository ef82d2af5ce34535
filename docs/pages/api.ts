import path from 'node:path';
import { Status } from 'nice-grpc-common';
import protobuf from 'protobufjs';
import { fullName, parseSchema, walk } from '../../proto/schema.ts';
import { code, table, written } from './markdown.ts';

const codes = Object.keys(Status).filter((name) => /^[A-Z_]+$/.test(name));
/** `NOT_FOUND: ` or `DEADLINE_EXCEEDED, CANCELLED: ` at the start of a sentence. */
const errorStart = new RegExp(
  `(?<=^|[.)] )((?:${codes.join('|')})(?:, (?:${codes.join('|')}))*): `,
);

/** The services in the order in which a caller meets them. */
const serviceFiles = ['report', 'trainer', 'vision', 'labeler', 'generator'];

/** docs/reference/api.md: every service, method, message and enum of proto/radscribe/v1. */
export function apiPage(): string {
  const objects = [...walk(parseSchema())].filter((object) =>
    fullName(object).startsWith('radscribe.'),
  );
  const services = objects
    .filter((object) => object instanceof protobuf.Service)
    .sort((a, b) => serviceFiles.indexOf(fileOf(a)) - serviceFiles.indexOf(fileOf(b)));
  const types = objects
    .filter((object) => object instanceof protobuf.Type || object instanceof protobuf.Enum)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return [
    written('proto/radscribe/v1'),
    '# API',
    'Package `radscribe.v1`, gRPC. Applications call `ReportService` at the gateway. `TrainerService` is for the people who train and operate. The other three services are called by the gateway.',
    'Every error carries a `google.rpc.ErrorInfo` of the domain `radscribe` with a stable reason. A wrong field adds a `google.rpc.BadRequest` that names it; a full queue or an exhausted quota adds a `google.rpc.RetryInfo`.',
    ...services.flatMap(servicePart),
    '## Messages and enums',
    ...types.flatMap((type) =>
      type instanceof protobuf.Enum ? enumPart(type) : messagePart(type),
    ),
  ].join('\n\n');
}

const fileOf = (object: protobuf.ReflectionObject): string =>
  path.basename(object.filename ?? '', '.proto');

/** Paragraphs stay, lines within one are joined. */
const prose = (comment: string | null): string =>
  (comment ?? '')
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.replaceAll(/\s*\n\s*/g, ' ').trim())
    .join('\n\n');

const anchor = (name: string): string => `#${name.toLowerCase()}`;

function reference(name: string, type: protobuf.ReflectionObject | null): string {
  if (type === null) return code(name);
  const full = fullName(type);
  return full.startsWith('radscribe.') ? `[${type.name}](${anchor(type.name)})` : code(full);
}

const snakeCase = (name: string): string =>
  name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function servicePart(service: protobuf.Service): string[] {
  return [
    `## ${service.name}`,
    prose(service.comment),
    ...service.methodsArray.flatMap((method) => {
      const side = (
        name: string,
        type: protobuf.Type | null,
        stream: boolean | undefined,
      ): string => `${stream === true ? 'stream of ' : ''}${reference(name, type)}`;
      const request = side(method.requestType, method.resolvedRequestType, method.requestStream);
      const response = side(
        method.responseType,
        method.resolvedResponseType,
        method.responseStream,
      );
      const { text, errors } = splitErrors(prose(method.comment));
      return [
        `### ${service.name}.${method.name}`,
        `Takes ${request}, returns ${response}.`,
        text,
        ...(errors.length > 0 ? [table(['error', 'when'], errors)] : []),
      ];
    }),
  ];
}

/** A method's comment, and its errors: the sentences that begin with status codes. */
function splitErrors(comment: string): { readonly text: string; readonly errors: string[][] } {
  const parts = comment.split(new RegExp(errorStart, 'm'));
  const errors: string[][] = [];
  for (let at = 1; at + 1 < parts.length; at += 2) {
    errors.push([parts[at]!.split(', ').map(code).join(', '), parts[at + 1]!]);
  }
  return { text: parts[0]!.trim(), errors };
}

function messagePart(type: protobuf.Type): string[] {
  const rows = type.fieldsArray.map((field) => [
    code(snakeCase(field.name)),
    `${field.repeated ? 'repeated ' : ''}${reference(field.type, field.resolvedType)}`,
    String(field.id),
    `${presence(field)}${prose(field.comment)}`,
  ]);
  return [
    `### ${type.name}`,
    prose(type.comment),
    rows.length > 0 ? table(['field', 'type', 'number', 'meaning'], rows) : 'It has no fields.',
  ];
}

/** Fields of one oneof exclude each other; a lone one is a field whose absence is told apart. */
function presence({ partOf }: protobuf.Field): string {
  if (partOf === null) return '';
  return partOf.name.startsWith('_') ? 'Optional. ' : `One of ${code(snakeCase(partOf.name))}. `;
}

function enumPart(type: protobuf.Enum): string[] {
  const rows = Object.entries(type.values).map(([name, id]) => [
    code(name),
    String(id),
    prose(type.comments[name] ?? ''),
  ]);
  return [`### ${type.name}`, prose(type.comment), table(['value', 'number', 'meaning'], rows)];
}
