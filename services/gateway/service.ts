import type { ServiceImplementation } from 'nice-grpc';
import { invalidArgument } from '../../lib/errors.ts';
import { type DeadlineContext, limitTo } from '../../lib/rpc/deadline.ts';
import type {
  BatchGenerateReportsRequest,
  BatchGenerateReportsResponse,
  GenerateReportRequest,
  GenerateReportResponse,
  ReportServiceMethods,
  Sent,
  StreamReportResponse,
} from '../../lib/rpc/messages.ts';
import type { Call } from '../../lib/rpc/server.ts';
import type { Service } from '../../lib/rpc/services.ts';
import { statusMessage } from '../../lib/rpc/status-message.ts';
import { concurrently } from './concurrently.ts';
import type { CallOptions, Gateway } from './gateway.ts';
import { Outbox } from './outbox.ts';
import { type ReportRequest, checkName, readRequest } from './report-request.ts';
import { type DescribedImage, eventMessage, reportMessage } from './report-response.ts';

/** Concurrent studies of one BatchGenerateReports call. */
const batchWidth = 8;

/** Translates between ReportService and the gateway, nothing else. */
export function reportImplementation(
  gateway: Gateway,
): ServiceImplementation<Service<ReportServiceMethods>, DeadlineContext> {
  return {
    generateReport: async (request, call) => {
      const options = await identify(gateway, call);
      return reportOf(gateway, readRequest(request), options);
    },
    async *streamReport(request, call): AsyncGenerator<Sent<StreamReportResponse>> {
      const options = await identify(gateway, call);
      const read = readRequest(request);
      const outbox = new Outbox<DescribedImage>();
      const left = new AbortController();
      using limit = limitTo(undefined, call.signal, left.signal);
      const { signal } = limit;
      const reporting = gateway
        .report(read, { ...options, signal, emit: outbox.push })
        .finally(outbox.close);
      // It is awaited below, unless the reader leaves first.
      reporting.catch(() => {});
      try {
        for (let next = await outbox.take(); next !== undefined; next = await outbox.take()) {
          yield eventMessage(next);
        }
        const { route, report } = await reporting;
        yield { release: route.release, report: reportMessage(read, route, report) };
      } finally {
        left.abort();
        await reporting.catch(() => {});
      }
    },
    async *batchGenerateReports(requests, call) {
      const options = await identify(gateway, call);
      const known = new Set<string>();
      const work = (item: BatchGenerateReportsRequest) => batchItem(gateway, item, known, options);
      yield* concurrently(requests, batchWidth, work);
    },
    listReleases: async (request, call) => {
      await identify(gateway, call);
      return gateway.releases.list(request);
    },
    getRelease: async (request, call) => {
      await identify(gateway, call);
      return gateway.releases.get(request);
    },
  };
}

/** Throws UNAUTHENTICATED. */
async function identify(gateway: Gateway, call: Call): Promise<CallOptions> {
  const client = await gateway.identify(call.metadata.get('authorization'), call.peer);
  return { client, signal: call.signal, deadline: call.deadline };
}

async function reportOf(
  gateway: Gateway,
  request: ReportRequest,
  options: CallOptions,
): Promise<Sent<GenerateReportResponse>> {
  const { route, report } = await gateway.report(request, options);
  return reportMessage(request, route, report);
}

/** An error is the item's own and does not end the call. */
async function batchItem(
  gateway: Gateway,
  { itemId, request }: BatchGenerateReportsRequest,
  known: Set<string>,
  options: CallOptions,
): Promise<Sent<BatchGenerateReportsResponse>> {
  try {
    const report = await reportOf(gateway, readItem(itemId, request, known), options);
    return { itemId, report };
  } catch (error) {
    return { itemId, error: statusMessage(error) };
  }
}

function readItem(
  itemId: string,
  request: GenerateReportRequest | null,
  known: Set<string>,
): ReportRequest {
  if (itemId === '') throw invalidArgument('ITEM_ID_MISSING', 'item_id', 'is empty');
  checkName('item_id', itemId);
  if (known.has(itemId)) throw invalidArgument('ITEM_ID_REPEATED', 'item_id', 'was used before');
  known.add(itemId);
  if (request === null) throw invalidArgument('REQUEST_MISSING', 'request', 'is missing');
  return readRequest(request, 'bulk');
}
