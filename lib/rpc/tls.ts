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

/** Files in PEM. They are read again when they change: certificates rotate without a restart. */
export interface TlsFiles {
  /** Our own certificate, and its key; both or neither. A server needs them. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Who signs the other side. A server that has it asks for a client's certificate. */
  readonly ca?: string | undefined;
  /** How often files are looked at; default 30 s. */
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

/** The watcher says nothing of files that it cannot use; every connection would just fail. */
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

/** Plain text where no file is given, TLS with a certificate, mutual TLS with a `ca` too. */
export function serverCredentials(files: TlsFiles = {}): ServerCredentials {
  if (!isUsed(files)) return Servers.createInsecure();
  const watcher = provider(files, ['cert', 'key']);
  const mutual = files.ca !== undefined;
  // The first gives our certificate, the second the authorities: grpc-js' types name them the other
  // way round.
  return experimental.createCertificateProviderServerCredentials(
    watcher,
    mutual ? watcher : null,
    mutual,
  );
}

/** Plain text where no file is given; `ca` checks the server, `cert` and `key` show who we are. */
export function channelCredentials(files: TlsFiles = {}): ChannelCredentials {
  if (!isUsed(files)) return Channels.createInsecure();
  const watcher = provider(files, ['ca']);
  const own = files.cert === undefined ? null : watcher;
  return experimental.createCertificateProviderChannelCredentials(watcher, own);
}
