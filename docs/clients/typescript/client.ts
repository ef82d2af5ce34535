/**
 * A whole client of RadScribe in one file, to copy: it needs only @grpc/grpc-js, @grpc/proto-loader
 * and the folder proto/.
 *
 *   node docs/clients/typescript/client.ts 127.0.0.1:50051 IMAGE
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import type { ClientReadableStream, ServiceClientConstructor } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

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

const [address = '127.0.0.1:50051', image] = process.argv.slice(2);
if (image === undefined) {
  process.stderr.write('usage: client.ts HOST:PORT IMAGE\n');
  process.exit(2);
}

const protos = fileURLToPath(new URL('../../../proto', import.meta.url));
const options = { includeDirs: [protos], enums: String, defaults: true, oneofs: true };
const loaded = loadPackageDefinition(loadSync('radscribe/v1/report.proto', options));
const { ReportService } = (loaded['radscribe'] as { v1: Record<string, ServiceClientConstructor> })
  .v1;

const client = new ReportService!(address, credentials.createInsecure(), {
  'grpc.max_send_message_length': 128 * 1024 * 1024,
});
const request = { images: [{ data: readFileSync(image) }], includeLabels: true };
const deadline = Date.now() + 60_000;
const stream = client['StreamReport']!(request, { deadline }) as ClientReadableStream<Event>;

// What is known comes as it is known: labels, then the text while it is written, then the whole.
stream.on('data', ({ labels, text, report }: Event) => {
  for (const { name, probability, state } of labels?.labels ?? []) {
    if (state === 'LABEL_STATE_POSITIVE') {
      process.stdout.write(`${name} ${probability.toFixed(2)}\n`);
    }
  }
  if (text) process.stdout.write(text.text);
  if (report) {
    process.stdout.write(`\n\nby release ${report.release}\n`);
    for (const { message } of report.warnings) process.stdout.write(`warning: ${message}\n`);
  }
});
stream.on('error', ({ message }) => {
  process.stderr.write(`${message}\n`);
  process.exitCode = 1;
});
stream.on('close', () => client.close());
