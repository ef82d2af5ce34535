import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { openChannel } from '../lib/rpc/channel.ts';
import { bind, startServer } from '../lib/rpc/server.ts';
import { labelerService } from '../lib/rpc/services.ts';
import type { TlsFiles } from '../lib/rpc/tls.ts';
import { testTelemetry, until } from './support/services.ts';

const openssl = (args: string): Buffer =>
  execFileSync('openssl', args.split(' '), { stdio: ['ignore', 'pipe', 'ignore'] });
let hasOpenssl = true;
try {
  openssl('version');
} catch {
  hasOpenssl = false;
}

/** An authority in a folder of its own, and certificates by it for localhost. */
async function authority(t: ExecutionContext) {
  const folder = await mkdtemp(join(tmpdir(), 'radscribe-tls-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2';
  const file = (name: string): string => join(folder, name);
  openssl(`req -x509 ${key} -keyout ${file('ca.key')} -out ${file('ca.pem')} -subj /CN=ca`);
  const issue = (name: string) => {
    const files = { cert: file(`${name}.pem`), key: file(`${name}.key`) };
    openssl(
      `req -x509 ${key} -keyout ${files.key} -out ${files.cert} -subj /CN=${name} ` +
        `-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE ` +
        `-CA ${file('ca.pem')} -CAkey ${file('ca.key')}`,
    );
    return files;
  };
  return { ca: file('ca.pem'), issue };
}

async function serve(t: ExecutionContext, tls: TlsFiles): Promise<number> {
  const { telemetry } = testTelemetry('labeler');
  const services = [bind(labelerService, { classify: async () => ({}) })];
  const server = await startServer({ host: '127.0.0.1', port: 0, telemetry, services, tls });
  t.teardown(() => server.close());
  return server.port;
}

function client(t: ExecutionContext, port: number, tls: TlsFiles) {
  const { telemetry } = testTelemetry('client');
  const channel = openChannel(`localhost:${port}`, { telemetry, tls, retries: false });
  t.teardown(() => channel.close());
  return channel.client(labelerService);
}

const withOpenssl = hasOpenssl ? test : test.skip;

withOpenssl('TLS serves those who trust its authority, and nobody in plain text', async (t) => {
  const { ca, issue } = await authority(t);
  const other = await authority(t);
  const port = await serve(t, issue('server'));
  await t.notThrowsAsync(() => client(t, port, { ca }).classify({}));
  const soon = { deadline: Date.now() + 3000 };
  await t.throwsAsync(() => client(t, port, {}).classify({}, soon));
  await t.throwsAsync(() => client(t, port, { ca: other.ca }).classify({}, soon));
});

withOpenssl('mutual TLS serves those alone who show a certificate of its authority', async (t) => {
  const { ca, issue } = await authority(t);
  const other = await authority(t);
  const port = await serve(t, { ...issue('server'), ca });
  await t.notThrowsAsync(() => client(t, port, { ca, ...issue('client') }).classify({}));
  const soon = { deadline: Date.now() + 3000 };
  await t.throwsAsync(() => client(t, port, { ca }).classify({}, soon));
  await t.throwsAsync(() => client(t, port, { ca, ...other.issue('client') }).classify({}, soon));
});

withOpenssl('a certificate that is replaced is served without a restart', async (t) => {
  const { ca, issue } = await authority(t);
  const files = issue('first');
  const next = issue('second');
  const port = await serve(t, { ...files, refreshMs: 50 });
  const { classify } = client(t, port, { ca });
  await t.notThrowsAsync(() => classify({}));
  const served = (): Promise<string | undefined> =>
    new Promise((resolve, reject) => {
      const socket = connectTls({
        port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
      });
      socket.once('error', reject);
      socket.once('secureConnect', () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      });
    });
  t.is(await served(), 'first');
  copyFileSync(next.key, files.key);
  copyFileSync(next.cert, files.cert);
  // Read between the two copies, the files do not fit each other until they are read again.
  await until(async () => (await served().catch(() => undefined)) === 'second');
  await t.notThrowsAsync(() => classify({}));
  await t.notThrowsAsync(() => client(t, port, { ca }).classify({}));
});

withOpenssl('TLS files that cannot be used are named at the start', async (t) => {
  const { issue } = await authority(t);
  const { cert, key } = issue('server');
  t.like(await t.throwsAsync(() => serve(t, { cert })), { reason: 'TLS_INCOMPLETE' });
  const missing = serve(t, { cert: '/no/such/file', key });
  t.like(await t.throwsAsync(missing), { reason: 'TLS_UNUSABLE' });
  await writeFile(key, 'no key');
  t.like(await t.throwsAsync(() => serve(t, { cert, key })), { reason: 'TLS_UNUSABLE' });
});
