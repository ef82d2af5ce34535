import { createSocket } from 'node:dgram';
import type { ExecutionContext } from 'ava';

/**
 * A DNS server on loopback that knows one name, as that of a cluster knows a headless Service: it answers
 * with the address of every replica that is ready. `addresses` may change while it runs.
 */
export async function startDns(t: ExecutionContext, name: string, addresses: string[]) {
  const socket = createSocket('udp4');
  t.teardown(() => new Promise<void>((resolve) => socket.close(resolve)));
  socket.on('message', (query, { port, address }) => {
    socket.send(answer(query, name, addresses), port, address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return { port: socket.address().port };
}

const typeA = 1;

/** RFC 1035: the header and the question come back; one record an address follows. */
function answer(query: Buffer, name: string, addresses: readonly string[]): Buffer {
  let end = 12;
  const labels: string[] = [];
  for (let length = query[end] ?? 0; length > 0; length = query[end] ?? 0) {
    labels.push(query.toString('latin1', end + 1, end + 1 + length));
    end += 1 + length;
  }
  const type = query.readUInt16BE(end + 1);
  const known = labels.join('.').toLowerCase() === name;
  const found = known && type === typeA ? addresses : [];
  const header = Buffer.from(query.subarray(0, 12));
  // A response, recursion available; NXDOMAIN for any other name.
  header.writeUInt16BE(known ? 0x8180 : 0x8183, 2);
  header.writeUInt16BE(found.length, 6);
  header.writeUInt32BE(0, 8);
  const records = found.map((address) =>
    // The name as a pointer to the question, A, IN, no time to live, four bytes.
    Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split('.').map(Number)]),
  );
  return Buffer.concat([header, query.subarray(12, end + 5), ...records]);
}
