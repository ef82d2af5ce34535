import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JSONWebKeySet,
  jwtVerify,
  type JWTVerifyGetKey,
} from 'jose';
import { DomainError } from '../../lib/errors.ts';

export interface AuthOptions {
  /** A file of static tokens, one per line: `CLIENT TOKEN`; # begins a comment. */
  readonly tokensFile?: string | undefined;
  /** The JSON Web Key Set that verifies JWTs: a URL or a file. */
  readonly jwks?: string | undefined;
  /** The required claims `iss` and `aud` of a JWT; default: not checked. */
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
}

/**
 * The name of the client, from the `authorization` header.
 *
 * @throws {DomainError} UNAUTHENTICATED, or UNAVAILABLE if the issuer's keys cannot be read.
 */
export type Authenticate = (authorization: string | undefined) => Promise<string>;

/** Files may be rotated: a file is read again at a call if the last read is this old. */
const rereadMs = 5000;
/** Public-key signatures only: a published key set must not hold a shared secret. */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'EdDSA',
];

/** Undefined if neither tokens nor keys are configured: calls need no token. */
export function createAuthenticate(options: AuthOptions): Authenticate | undefined {
  const { tokensFile, jwks, issuer, audience } = options;
  if (tokensFile === undefined && jwks === undefined) return undefined;
  const clients = tokensFile === undefined ? undefined : rereading(() => readTokens(tokensFile));
  const keys = jwks === undefined ? undefined : issuerKeys(jwks);
  const expected = { algorithms, ...(issuer && { issuer }), ...(audience && { audience }) };
  return async (authorization) => {
    const token = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (token === undefined) {
      throw refused('TOKEN_MISSING', 'expected metadata "authorization: Bearer TOKEN"');
    }
    const client = (await clients?.())?.get(digest(token));
    if (client !== undefined) return client;
    if (keys === undefined) throw refused('TOKEN_INVALID', 'the token is unknown');
    try {
      const { payload } = await jwtVerify(token, keys, expected);
      const name = payload.sub ?? payload['client_id'] ?? payload['azp'];
      if (typeof name === 'string' && name !== '') return name;
    } catch (error) {
      throw tokenError(error);
    }
    throw refused('TOKEN_INVALID', 'the token names no subject (sub, client_id or azp)');
  };
}

function issuerKeys(source: string): JWTVerifyGetKey {
  if (/^https?:/.test(source)) return createRemoteJWKSet(new URL(source));
  const keys = rereading(async () =>
    createLocalJWKSet(JSON.parse(await readFile(source, 'utf8')) as JSONWebKeySet),
  );
  return async (header, token) => (await keys())(header, token);
}

/** Clients by the digest of their token: the time of a look-up by digest reveals nothing of the token. */
async function readTokens(file: string): Promise<ReadonlyMap<string, string>> {
  const lines = (await readFile(file, 'utf8')).split('\n').map((line) => line.trim());
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(/\s+/))
      .flatMap(([client, token]) => (client && token ? [[digest(token), client] as const] : [])),
  );
}

/** The value of `read`, refreshed when it is old; if reading fails, the last value stays. */
function rereading<T>(read: () => Promise<T>): () => Promise<T> {
  let last: Promise<T> | undefined;
  let atMs = 0;
  return () => {
    if (last !== undefined && performance.now() - atMs < rereadMs) return last;
    atMs = performance.now();
    const before = last;
    last = read().catch((cause: unknown) => {
      if (before !== undefined) return before;
      last = undefined;
      const message = 'the tokens or keys of this gateway cannot be read';
      throw new DomainError('UNAVAILABLE', 'AUTH_UNREADABLE', message, { cause });
    });
    return last;
  };
}

const digest = (token: string): string => createHash('sha256').update(token).digest('base64');

const refused = (reason: string, message: string): DomainError =>
  new DomainError('UNAUTHENTICATED', reason, `authorization: ${message}`, {
    field: 'authorization',
  });

/** Without the token and the values of its claims: errors are logged. */
function tokenError(error: unknown): DomainError {
  if (error instanceof DomainError) return error;
  if (error instanceof errors.JWTExpired) return refused('TOKEN_EXPIRED', 'the token has expired');
  if (error instanceof errors.JWTClaimValidationFailed) {
    return refused('TOKEN_INVALID', `the claim ${error.claim} of the token is not as expected`);
  }
  if (error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout)) {
    return refused('TOKEN_INVALID', 'the token is malformed or not signed by the issuer');
  }
  const message = 'the keys of the token issuer cannot be fetched';
  return new DomainError('UNAVAILABLE', 'ISSUER_UNREACHABLE', message, { cause: error });
}
