import { type ServerHttp2Stream, createServer } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { DomainError } from '../lib/errors.ts';
import { openChannel } from '../lib/rpc/channel.ts';
import { labelerService } from '../lib/rpc/services.ts';
import { createTelemetry } from '../lib/telemetry/telemetry.ts';

const emptyMessage = Buffer.alloc(5);

/** A server whose connection is lost after the message and before the status, for the first `lost` calls. */
async function serve(t: ExecutionContext, lost: number, lose: (socket: Socket) => void) {
  let calls = 0;
  let last: Socket | undefined;
  const server = createServer();
  server.on('connection', (socket: Socket) => (last = socket));
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.on('wantTrailers', () => {
      if (calls > lost) stream.sendTrailers({ 'grpc-status': '0' });
    });
    const headers = { ':status': 200, 'content-type': 'application/grpc+proto' };
    stream.respond(headers, { waitForTrailers: true });
    calls += 1;
    if (calls > lost) stream.end(emptyMessage);
    else stream.write(emptyMessage, () => setTimeout(() => lose(last!), 20));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, calls: () => calls };
}

function connect(t: ExecutionContext, port: number, retries = true) {
  const telemetry = createTelemetry({ service: 'client', logLevel: 'silent' });
  const channel = openChannel(`127.0.0.1:${port}`, { telemetry, retries });
  t.teardown(() => channel.close());
  return channel.client(labelerService);
}

const ways = {
  reset: (socket: Socket) => socket.resetAndDestroy(),
  closed: (socket: Socket) => socket.destroy(),
};

for (const [way, lose] of Object.entries(ways)) {
  test(`a unary call is repeated when its connection is ${way} mid-response`, async (t) => {
    const { port, calls } = await serve(t, 1, lose);
    await t.notThrowsAsync(() => connect(t, port).classify({}));
    t.is(calls(), 2);
  });
}

test('a response that is lost four times is an error, without retries at once', async (t) => {
  for (const [retries, expected] of [
    [true, 4],
    [false, 1],
  ] as const) {
    const { port, calls } = await serve(t, 9, ways.reset);
    const client = connect(t, port, retries);
    const error = await t.throwsAsync(() => client.classify({}), { instanceOf: DomainError });
    t.is(error.code, 'UNAVAILABLE');
    t.is(calls(), expected);
  }
});
