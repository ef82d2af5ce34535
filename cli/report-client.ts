import { readFile } from 'node:fs/promises';
import { fileError } from '../lib/data/files.ts';
import { DomainError } from '../lib/errors.ts';
import type {
  BatchGenerateReportsRequest,
  GenerateReportRequest,
  GenerateReportResponse,
  Sent,
} from '../lib/rpc/messages.ts';
import { reportService } from '../lib/rpc/services.ts';
import { errorOfStatus } from '../lib/rpc/status-message.ts';
import { type ConnectionFlags, withClient } from './client.ts';

export interface ReportClientOptions {
  /** `host:port` of the gateway. */
  readonly address: string;
  readonly connection: ConnectionFlags;
  /** The fields of every request, without its images. */
  readonly request: Sent<Omit<GenerateReportRequest, 'images'>>;
}

/** The result of one study: its files, and its report or the error. */
export type Reported =
  | { readonly files: readonly string[]; readonly report: GenerateReportResponse }
  | { readonly files: readonly string[]; readonly error: DomainError };

/** Time for one call, which may send thousands of images. */
const callTimeoutMs = 24 * 3600 * 1000;

/**
 * Sends studies, each a list of files, to a gateway, and hands each result to `onReported` as it comes.
 * Files are read as the gateway takes them.
 *
 * @throws {DomainError} UNAVAILABLE where there is no gateway; UNAUTHENTICATED.
 */
export async function requestReports(
  studies: readonly (readonly string[])[],
  { address, connection, request }: ReportClientOptions,
  onReported: (reported: Reported) => void,
): Promise<void> {
  async function* items(): AsyncGenerator<Sent<BatchGenerateReportsRequest>> {
    for (const [index, files] of studies.entries()) {
      try {
        const images = [];
        for (const file of files) images.push({ data: await readImage(file) });
        yield { itemId: `${index}`, request: { ...request, images } };
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        onReported({ files, error });
      }
    }
  }
  const advice = 'start one with `npm start`, or give another --address';
  const gateway = { service: reportService, name: 'gateway', address, advice };
  await withClient(gateway, connection, async (client, call) => {
    const deadline = Date.now() + callTimeoutMs;
    const answers = client.batchGenerateReports(items(), { ...call, deadline });
    for await (const { itemId, report, error } of answers) {
      const files = studies[Number(itemId)] ?? [];
      if (report) onReported({ files, report });
      else if (error) onReported({ files, error: asDomainError(errorOfStatus(error)) });
    }
  });
}

const readImage = (file: string): Promise<Uint8Array> =>
  readFile(file).catch((error: unknown) => {
    throw fileError(error, file);
  });

const asDomainError = (error: unknown): DomainError =>
  error instanceof DomainError
    ? error
    : new DomainError('INTERNAL', 'ANSWER_UNKNOWN', 'the gateway gave no reason', { cause: error });
