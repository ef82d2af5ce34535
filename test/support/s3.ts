import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import S3rver from 's3rver';

export interface FakeS3 {
  readonly endpoint: string;
  /** `s3://bucket/prefix?...` of a folder of the bucket. */
  url(prefix: string): string;
  /** Where the server keeps its objects. */
  readonly directory: string;
  /** The fault of a request: the status it gets, or what happens to its connection. */
  fault: (request: IncomingMessage) => number | 'hang up' | 'lose the answer' | undefined;
  readonly requests: string[];
}

/**
 * s3rver in this process. It handles one request at a time here, so that a write is atomic as in S3, and
 * where `conditional`, honours If-None-Match, which s3rver itself ignores.
 */
export async function startS3(
  t: ExecutionContext<unknown>,
  { conditional }: { readonly conditional: boolean },
): Promise<FakeS3> {
  process.env['AWS_ACCESS_KEY_ID'] = 'S3RVER';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'S3RVER';
  const directory = await mkdtemp(join(tmpdir(), 'radscribe-s3-'));
  await mkdir(join(directory, 'releases'));
  const handle = new S3rver({ directory, silent: true, vhostBuckets: false }).callback();
  const fake = { fault: () => undefined, requests: [], directory } as Partial<FakeS3> as FakeS3;
  const internal = createServer(handle);
  let turn: Promise<void> = Promise.resolve();
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    // The client left while it waited for its turn.
    if (response.closed || request.socket.destroyed) return;
    fake.requests.push(`${request.method} ${request.url}`);
    const fault = fake.fault(request);
    if (fault === 'hang up') {
      request.socket.destroy();
      return;
    }
    const isRefused =
      conditional &&
      request.method === 'PUT' &&
      request.headers['if-none-match'] === '*' &&
      (await exists(internal, request.url ?? ''));
    const status = typeof fault === 'number' ? fault : isRefused ? 412 : undefined;
    if (status !== undefined) {
      request.resume();
      const code = status === 412 ? 'PreconditionFailed' : 'Fault';
      response.writeHead(status, { 'content-type': 'application/xml' });
      response.end(`<?xml version="1.0"?><Error><Code>${code}</Code></Error>`);
      return;
    }
    delete request.headers['if-none-match'];
    if (fault === 'lose the answer') response.write = () => true;
    if (fault === 'lose the answer') response.end = () => response.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    response.once('close', resolve);
    handle(request, response);
    await promise;
  };
  const server = createServer((request, response) => {
    turn = turn.then(() => answer(request, response));
  });
  for (const one of [server, internal]) {
    await new Promise<void>((resolve) => {
      one.listen(0, '127.0.0.1', resolve);
    });
    t.teardown(() => {
      one.closeAllConnections();
      one.close();
    });
  }
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const endpoint = addressOf(server);
  return Object.assign(fake, {
    endpoint,
    url: (prefix: string) =>
      `s3://releases/${prefix}?endpoint=${encodeURIComponent(endpoint)}&region=us-east-1`,
  });
}

const addressOf = (server: Server): string =>
  `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const exists = async (server: Server, path: string): Promise<boolean> =>
  (await fetch(`${addressOf(server)}${path}`, { method: 'HEAD' })).status === 200;
