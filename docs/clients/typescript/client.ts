/**
 * A whole client of RadScribe in one file, to copy. It needs only @grpc/grpc-js, @grpc/proto-loader
 * and the folder proto/:
 *
 *   node docs/clients/typescript/client.ts 127.0.0.1:50051 IMAGE
 *
 * RADSCRIBE_TOKEN is sent as a bearer token. RADSCRIBE_CA, a file of CA certificates, switches TLS on.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Metadata, credentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import type { ClientReadableStream, ServiceClientConstructor, ServiceError } from '@grpc/grpc-js';
import { type MessageTypeDefinition, loadSync } from '@grpc/proto-loader';

const attempts = 3;
const timeoutMs = 60_000;
const maxMessageBytes = 128 * 1024 * 1024;

interface Label {
  readonly name: string;
  readonly probability: number;
  readonly state: string;
}

/** The part of StreamReportResponse that is used here; see proto/radscribe/v1/report.proto. */
interface Event {
  readonly labels?: { readonly labels: readonly Label[] };
  readonly text?: { readonly text: string };
  readonly report?: {
    readonly release: string;
    readonly warnings: readonly { readonly message: string }[];
  };
}

/** The parts of google.rpc.ErrorInfo, BadRequest and RetryInfo that are used here. */
interface Details {
  readonly reason?: string;
  readonly fieldViolations?: readonly { readonly field: string }[];
  readonly retryDelay?: { readonly seconds: number; readonly nanos: number };
}

const definition = loadSync(
  ['google/rpc/status.proto', 'google/rpc/error_details.proto', 'radscribe/v1/report.proto'],
  {
    includeDirs: [fileURLToPath(new URL('../../../proto', import.meta.url))],
    enums: String,
    longs: Number,
    defaults: true,
    oneofs: true,
  },
);
const decode = (type: string, bytes: Buffer): unknown =>
  (definition[type] as MessageTypeDefinition<object, object>).deserialize(bytes);

/** The fields of an error's ErrorInfo, BadRequest and RetryInfo, together. */
function detailsOf({ metadata }: ServiceError): Details {
  const [bytes] = metadata.get('grpc-status-details-bin');
  if (bytes === undefined) return {};
  const { details } = decode('google.rpc.Status', bytes as Buffer) as {
    readonly details: readonly { readonly type_url: string; readonly value: Buffer }[];
  };
  const known = details.map(({ type_url: url, value }) => ({
    type: url.split('/').at(-1)!,
    value,
  }));
  return Object.assign(
    {},
    ...known.filter(({ type }) => type in definition).map(({ type, value }) => decode(type, value)),
  ) as Details;
}

/** Prints what is known as soon as it is known: labels, the text as it is written, the report. */
function print({ labels, text, report }: Event): void {
  for (const { name, probability, state } of labels?.labels ?? []) {
    if (state === 'LABEL_STATE_POSITIVE') console.log(`${name} ${probability.toFixed(2)}`);
  }
  if (text) process.stdout.write(text.text);
  if (report) {
    console.log(`\n\nby release ${report.release}`);
    for (const { message } of report.warnings) console.log(`warning: ${message}`);
  }
}

async function main(address: string, image: string): Promise<number> {
  const loaded = loadPackageDefinition(definition);
  const { ReportService } = (
    loaded['radscribe'] as { v1: { ReportService: ServiceClientConstructor } }
  ).v1;
  const { RADSCRIBE_CA: ca, RADSCRIBE_TOKEN: token } = process.env;
  const transport = ca ? credentials.createSsl(readFileSync(ca)) : credentials.createInsecure();
  const client = new ReportService(address, transport, {
    'grpc.max_send_message_length': maxMessageBytes,
  });
  const request = { images: [{ data: readFileSync(image) }], includeLabels: true };
  const metadata = new Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  try {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const options = { deadline: Date.now() + timeoutMs };
        const stream = client['StreamReport']!(request, metadata, options);
        for await (const event of stream as ClientReadableStream<Event>) print(event as Event);
        return 0;
      } catch (caught) {
        const error = caught as ServiceError;
        const { reason = '', fieldViolations = [], retryDelay } = detailsOf(error);
        // Only a RetryInfo says that the same request may succeed later, and when.
        if (retryDelay !== undefined && attempt < attempts) {
          await sleep(retryDelay.seconds * 1000 + retryDelay.nanos / 1e6);
          continue;
        }
        console.error(`${status[error.code]} ${reason}: ${error.details}`);
        for (const { field } of fieldViolations) console.error(`field: ${field}`);
        return 1;
      }
    }
  } finally {
    client.close();
  }
}

const [address, image] = process.argv.slice(2);
if (address === undefined || image === undefined) {
  console.error('usage: client.ts HOST:PORT IMAGE');
  process.exitCode = 2;
} else {
  process.exitCode = await main(address, image);
}
