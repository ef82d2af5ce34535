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
  /** A file of static tokens, a line each: `CLIENT TOKEN`; # begins a comment. */
  readonly tokensFile?: string | undefined;
  /** The issuer's keys for JWTs: a URL, or a file, as a JSON Web Key Set. */
  readonly jwks?: string | undefined;
  /** What `iss` and `aud` of a JWT must be; unset is not checked. */
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
}

/**
 * Who calls, from the `authorization` header.
 *
 * @throws {DomainError} UNAUTHENTICATED, or UNAVAILABLE where the issuer's keys cannot be had.
 */
export type Authenticate = (authorization: string | undefined) => Promise<string>;

/** Files may rotate: they are read again this often, when asked. */
const rereadMs = 5000;
/** Signatures by public keys only: a shared secret has no place in a key set that is published. */
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

/** Undefined where neither tokens nor keys are configured: everybody may call. */
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
    if (keys === undefined) throw refused('TOKEN_INVALID', 'the token is not known here');
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

function issuerKeys(place: string): JWTVerifyGetKey {
  if (/^https?:/.test(place)) return createRemoteJWKSet(new URL(place));
  const keys = rereading(async () =>
    createLocalJWKSet(JSON.parse(await readFile(place, 'utf8')) as JSONWebKeySet),
  );
  return async (header, token) => (await keys())(header, token);
}

/** Token digests to clients: a look-up by digest tells nothing by the time it takes. */
async function readTokens(file: string): Promise<ReadonlyMap<string, string>> {
  const lines = (await readFile(file, 'utf8')).split('\n').map((line) => line.trim());
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(/\s+/))
      .flatMap(([client, token]) => (client && token ? [[digest(token), client] as const] : [])),
  );
}

/** The value of `read`, renewed in time; what was read last is kept where reading fails. */
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

/** Never the token or its claims: they go into logs. */
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
