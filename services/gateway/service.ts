import type { ServiceImplementation } from 'nice-grpc';
import { invalidArgument } from '../../lib/errors.ts';
import type { DeadlineContext } from '../../lib/rpc/deadline.ts';
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
import type { Gateway, Terms } from './gateway.ts';
import { type Ask, checkName, readRequest } from './request.ts';
import { eventMessage, reportMessage } from './response.ts';

/** Studies of one BatchGenerateReports call that are worked on at a time. */
const batchWidth = 8;

type Report = Sent<GenerateReportResponse>;

/** Translates between ReportService and the gateway, nothing else. */
export function reportImplementation(
  gateway: Gateway,
): ServiceImplementation<Service<ReportServiceMethods>, DeadlineContext> {
  return {
    generateReport: async (request, call) => {
      const terms = await admit(gateway, call);
      return report(gateway, readRequest(request), terms);
    },
    async *streamReport(request, call): AsyncGenerator<Sent<StreamReportResponse>> {
      const terms = await admit(gateway, call);
      const ask = readRequest(request);
      for await (const { route, event } of gateway.answer(ask, { ...terms, stream: true })) {
        yield eventMessage(ask, route, event);
      }
    },
    async *batchGenerateReports(requests, call) {
      const terms = await admit(gateway, call);
      const seen = new Set<string>();
      yield* concurrently(requests, batchWidth, (item) => batchItem(gateway, item, seen, terms));
    },
    listReleases: async (request, call) => {
      await admit(gateway, call);
      return gateway.releases.list(request);
    },
    getRelease: async ({ name }, call) => {
      await admit(gateway, call);
      return gateway.releases.get(name);
    },
  };
}

/** Who calls, and until when. Throws UNAUTHENTICATED. */
async function admit(gateway: Gateway, call: Call): Promise<Omit<Terms, 'stream'>> {
  const client = await gateway.identify(call.metadata.get('authorization'), call.peer);
  return { client, signal: call.signal, deadline: call.deadline };
}

async function report(gateway: Gateway, ask: Ask, terms: Omit<Terms, 'stream'>): Promise<Report> {
  for await (const { route, event } of gateway.answer(ask, { ...terms, stream: false })) {
    if (event.kind === 'report') return reportMessage(ask, route, event.report);
  }
  throw new Error('the chain ended without a report');
}

/** Errors are the item's own, and do not end the call. */
async function batchItem(
  gateway: Gateway,
  { itemId, request }: BatchGenerateReportsRequest,
  seen: Set<string>,
  terms: Omit<Terms, 'stream'>,
): Promise<Sent<BatchGenerateReportsResponse>> {
  try {
    return { itemId, report: await report(gateway, readItem(itemId, request, seen), terms) };
  } catch (error) {
    return { itemId, error: statusMessage(error) };
  }
}

function readItem(itemId: string, request: GenerateReportRequest | null, seen: Set<string>): Ask {
  if (itemId === '') throw invalidArgument('ITEM_ID_MISSING', 'itemId', 'is empty');
  checkName('itemId', itemId);
  if (seen.has(itemId)) throw invalidArgument('ITEM_ID_REPEATED', 'itemId', 'was used before');
  seen.add(itemId);
  if (request === null) throw invalidArgument('REQUEST_MISSING', 'request', 'is missing');
  return readRequest(request, 'batch');
}
