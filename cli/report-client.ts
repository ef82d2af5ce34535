import { readFile } from 'node:fs/promises';
import { Metadata } from 'nice-grpc';
import { fileError } from '../lib/data/files.ts';
import { DomainError } from '../lib/errors.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import type {
  BatchGenerateReportsRequest,
  GenerateReportRequest,
  GenerateReportResponse,
  Sent,
} from '../lib/rpc/messages.ts';
import { reportService } from '../lib/rpc/services.ts';
import { errorOfStatus } from '../lib/rpc/status-message.ts';
import type { TlsFiles } from '../lib/rpc/tls.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';

export interface ReportClientOptions {
  /** `host:port` of the gateway. */
  readonly address: string;
  readonly token?: string | undefined;
  readonly tls?: TlsFiles;
  /** What every request says, beside its pictures. */
  readonly request: Sent<Omit<GenerateReportRequest, 'images'>>;
  readonly signal?: AbortSignal | undefined;
}

/** What became of one study: its files, and a report or why there is none. */
export type Reported =
  | { readonly files: readonly string[]; readonly report: GenerateReportResponse }
  | { readonly files: readonly string[]; readonly error: DomainError };

/** For one call that may send thousands of pictures. */
const callTimeoutMs = 24 * 3600 * 1000;

/**
 * Sends studies, each a list of files, to a gateway, and gives what became of them as it is known.
 * Files are read as the gateway takes them.
 *
 * @throws {DomainError} UNAVAILABLE where there is no gateway; UNAUTHENTICATED.
 */
export async function* requestReports(
  studies: readonly (readonly string[])[],
  { address, token, tls = {}, request, signal }: ReportClientOptions,
): AsyncGenerator<Reported> {
  const telemetry = createTelemetry({ service: 'report', logLevel: 'silent' });
  const channel = openChannel(address, { telemetry, tls });
  const unread: Reported[] = [];
  async function* items(): AsyncGenerator<Sent<BatchGenerateReportsRequest>> {
    for (const [index, files] of studies.entries()) {
      try {
        const images = [];
        for (const file of files) images.push({ data: await readPicture(file) });
        yield { itemId: `${index}`, request: { ...request, images } };
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        unread.push({ files, error });
      }
    }
  }
  const metadata = Metadata(token === undefined ? {} : { authorization: `Bearer ${token}` });
  const options = { metadata, deadline: Date.now() + callTimeoutMs, ...(signal && { signal }) };
  try {
    const client = channel.client(reportService);
    for await (const { itemId, report, error } of client.batchGenerateReports(items(), options)) {
      const files = studies[Number(itemId)] ?? [];
      yield* unread.splice(0);
      if (report) yield { files, report };
      else if (error) yield { files, error: asDomainError(errorOfStatus(error)) };
    }
    yield* unread.splice(0);
  } catch (error) {
    throw unreachable(error, address);
  } finally {
    channel.close();
    await telemetry.close();
  }
}

const readPicture = (file: string): Promise<Uint8Array> =>
  readFile(file).catch((error: unknown) => {
    throw fileError(error, file);
  });

const asDomainError = (error: unknown): DomainError =>
  error instanceof DomainError
    ? error
    : new DomainError('INTERNAL', 'ANSWER_UNKNOWN', 'the gateway gave no reason', { cause: error });

function unreachable(error: unknown, address: string): unknown {
  if (!(error instanceof DomainError) || error.reason !== 'RPC_UNAVAILABLE') return error;
  const message = `no gateway answers at ${address}: start one with \`npm start\`, or give another --address`;
  return new DomainError('UNAVAILABLE', 'GATEWAY_UNREACHABLE', message, { cause: error });
}
