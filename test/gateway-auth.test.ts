import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { DomainError } from '../lib/errors.ts';
import { type Authenticate, createAuthenticate } from '../services/gateway/auth.ts';

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(path, { recursive: true }));
  return path;
}

async function issuer() {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' };
  const sign = (claims: Record<string, unknown>, expires = '5m'): Promise<string> =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setIssuer('https://issuer.example')
      .setAudience('radscribe')
      .setExpirationTime(expires)
      .sign(privateKey);
  return { keySet: JSON.stringify({ keys: [jwk] }), sign };
}

async function refusal(authenticate: Authenticate, token?: string): Promise<string> {
  try {
    await authenticate(token === undefined ? undefined : `Bearer ${token}`);
    return 'accepted';
  } catch (error) {
    return error instanceof DomainError ? `${error.code} ${error.reason}` : 'another error';
  }
}

test('without tokens and keys no call needs a token', (t) => {
  t.is(createAuthenticate({}), undefined);
});

test('a static token names its client, any other is refused', async (t) => {
  const tokensFile = join(await folder(t), 'tokens');
  await writeFile(tokensFile, '# apps\nviewer s3cret\n\narchive  0ther # old\nbroken\n');
  const authenticate = createAuthenticate({ tokensFile })!;
  t.is(await authenticate('Bearer s3cret'), 'viewer');
  t.is(await authenticate('bearer 0ther'), 'archive');
  t.is(await refusal(authenticate, 'guess'), 'UNAUTHENTICATED TOKEN_INVALID');
  t.is(await refusal(authenticate), 'UNAUTHENTICATED TOKEN_MISSING');
});

test("a JWT signed by the issuer's key names its subject", async (t) => {
  const jwks = join(await folder(t), 'keys.json');
  const { keySet, sign } = await issuer();
  await writeFile(jwks, keySet);
  const authenticate = createAuthenticate({
    jwks,
    issuer: 'https://issuer.example',
    audience: 'radscribe',
  })!;
  t.is(await authenticate(`Bearer ${await sign({ sub: 'ward-3' })}`), 'ward-3');
  t.is(await authenticate(`Bearer ${await sign({ client_id: 'pacs' })}`), 'pacs');
  t.is(await refusal(authenticate, await sign({})), 'UNAUTHENTICATED TOKEN_INVALID');
  const expired = await sign({ sub: 'ward-3' }, '-1m');
  t.is(await refusal(authenticate, expired), 'UNAUTHENTICATED TOKEN_EXPIRED');
  const other = await (await issuer()).sign({ sub: 'ward-3' });
  t.is(await refusal(authenticate, other), 'UNAUTHENTICATED TOKEN_INVALID');
  t.is(await refusal(authenticate, 'not.a.token'), 'UNAUTHENTICATED TOKEN_INVALID');
  const elsewhere = createAuthenticate({ jwks, audience: 'another' })!;
  const misdirected = await refusal(elsewhere, await sign({ sub: 'ward-3' }));
  t.is(misdirected, 'UNAUTHENTICATED TOKEN_INVALID');
});

test('a token that is not signed with a public-key algorithm is refused', async (t) => {
  const jwks = join(await folder(t), 'keys.json');
  await writeFile(jwks, (await issuer()).keySet);
  const authenticate = createAuthenticate({ jwks })!;
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const none = `${part({ alg: 'none' })}.${part({ sub: 'root' })}.`;
  t.is(await refusal(authenticate, none), 'UNAUTHENTICATED TOKEN_INVALID');
  const shared = await new SignJWT({ sub: 'root' })
    .setProtectedHeader({ alg: 'HS256', kid: 'one' })
    .sign(new TextEncoder().encode('x'.repeat(32)));
  t.is(await refusal(authenticate, shared), 'UNAUTHENTICATED TOKEN_INVALID');
});

test("the issuer's keys may come over HTTP; calls are UNAVAILABLE while they cannot be read", async (t) => {
  const { keySet, sign } = await issuer();
  const server = createServer((_, response) => response.end(keySet)).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const authenticate = createAuthenticate({ jwks: `http://127.0.0.1:${port}/keys` })!;
  t.is(await authenticate(`Bearer ${await sign({ sub: 'ward-3' })}`), 'ward-3');
  const unreachable = createAuthenticate({ jwks: 'http://127.0.0.1:1/keys' })!;
  t.is(await refusal(unreachable, await sign({})), 'UNAVAILABLE ISSUER_UNREACHABLE');
  const unreadable = createAuthenticate({ jwks: '/nowhere/keys.json' })!;
  t.is(await refusal(unreadable, await sign({})), 'UNAVAILABLE AUTH_UNREADABLE');
});
