import { subscribe } from 'node:diagnostics_channel';
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { flowControlWindow } from './limits.ts';

/**
 * Opens the flow-control windows of every HTTP/2 connection that this process serves, of the
 * connection and of its streams, to `flowControlWindow` bytes. grpc-js does so for its clients only: its
 * servers let 64 KiB in at a time, and a picture of 2 MB waits for the other side's leave over thirty
 * times. Node tells of the first stream of a connection, which its settings still reach (RFC 9113, 6.9.2).
 */
export function openServerWindows(): void {
  const opened = new WeakSet<ServerHttp2Session>();
  subscribe('http2.server.stream.created', (message) => {
    const { session } = (message as { readonly stream: ServerHttp2Stream }).stream;
    if (session === undefined || opened.has(session as ServerHttp2Session)) return;
    opened.add(session as ServerHttp2Session);
    session.settings({ initialWindowSize: flowControlWindow });
    session.setLocalWindowSize(flowControlWindow);
  });
}
