import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import {
  type ChannelCredentials,
  type ServerCredentials,
  ChannelCredentials as Channels,
  ServerCredentials as Servers,
  experimental,
} from '@grpc/grpc-js';
import { DomainError } from '../errors.ts';

/** PEM files. They are read again when they change, so certificates rotate without a restart. */
export interface TlsFiles {
  /** The certificate of this process, and its key; both or neither. Required for a server. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** CA bundle that verifies the peer. A server with a CA bundle requires client certificates. */
  readonly ca?: string | undefined;
  /** How often the files are checked for changes; default 30 s. */
  readonly refreshMs?: number | undefined;
}

const isUsed = ({ cert, key, ca }: TlsFiles): boolean =>
  [cert, key, ca].some((file) => file !== undefined);

function provider(files: TlsFiles, needed: readonly ('cert' | 'key' | 'ca')[]) {
  const { cert, key, ca, refreshMs = 30_000 } = files;
  const missing = needed.find((name) => files[name] === undefined);
  if (missing !== undefined || (cert === undefined) !== (key === undefined)) {
    const setting = `TLS_${(missing ?? (cert === undefined ? 'cert' : 'key')).toUpperCase()}`;
    const message = `${setting} is missing: TLS needs it beside the other files`;
    throw new DomainError('FAILED_PRECONDITION', 'TLS_INCOMPLETE', message, { field: setting });
  }
  check(files);
  return new experimental.FileWatcherCertificateProvider({
    certificateFile: cert,
    privateKeyFile: key,
    caCertificateFile: ca,
    refreshIntervalMs: refreshMs,
  });
}

/** The watcher does not report unusable files; every connection would fail without a reason. */
function check({ cert, key, ca }: TlsFiles): void {
  const read = (file: string | undefined) => file && readFileSync(file);
  try {
    createSecureContext({ cert: read(cert), key: read(key), ca: read(ca) });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `the TLS files ${[cert, key, ca].filter(Boolean).join(', ')} cannot be used: ${why}`;
    throw new DomainError('FAILED_PRECONDITION', 'TLS_UNUSABLE', message, { cause });
  }
}

/** Plain text without files, TLS with a certificate and key, mutual TLS with `ca` as well. */
export function serverCredentials(files: TlsFiles = {}): ServerCredentials {
  if (!isUsed(files)) return Servers.createInsecure();
  const watcher = provider(files, ['cert', 'key']);
  const mutual = files.ca !== undefined;
  // The first provides our certificate, the second the CA bundle; grpc-js' types name them the other
  // way round.
  return experimental.createCertificateProviderServerCredentials(
    watcher,
    mutual ? watcher : null,
    mutual,
  );
}

/** Plain text without files; `ca` verifies the server, `cert` and `key` identify this client. */
export function channelCredentials(files: TlsFiles = {}): ChannelCredentials {
  if (!isUsed(files)) return Channels.createInsecure();
  const watcher = provider(files, ['ca']);
  const own = files.cert === undefined ? null : watcher;
  return experimental.createCertificateProviderChannelCredentials(watcher, own);
}
