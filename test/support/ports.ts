import { once } from 'node:events';
import { type Server, createServer } from 'node:net';

/**
 * `count` ports in a row that nothing uses, for servers whose ports must be known before they start,
 * or kept when they start again. They lie below those that systems give to outgoing connections
 * (32768 and up on Linux), which might else take the port of a server between two starts. Other
 * processes may still take them before they are used: start again with others then.
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  for (;;) {
    const first = 10_000 + Math.floor(Math.random() * 20_000);
    const ports = Array.from({ length: count }, (_, index) => first + index);
    if (await areFree(ports)) return ports;
  }
}

async function areFree(ports: readonly number[]): Promise<boolean> {
  const servers: Server[] = [];
  try {
    for (const port of ports) {
      // On every address: a replica may listen on another one of this machine.
      const server = createServer().listen(port, '0.0.0.0');
      servers.push(server);
      await once(server, 'listening');
    }
    return true;
  } catch {
    return false;
  } finally {
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  }
}

/** Whether this machine has a second loopback address, as Linux has, for a replica on the same port. */
export async function hasSecondLoopback(): Promise<boolean> {
  const server = createServer().listen(0, '127.0.0.2');
  try {
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
