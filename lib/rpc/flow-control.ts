import { subscribe } from 'node:diagnostics_channel';
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { flowControlWindow } from './limits.ts';

/**
 * Sets the flow-control windows of every HTTP/2 connection that this process serves, and of its streams,
 * to `flowControlWindow` bytes. grpc-js does so for its clients only: its servers accept 64 KiB at a time,
 * so that the sender of an image of 2 MB waits more than thirty times for a window update. Node announces
 * the first stream of a connection early enough for the new settings to apply to it (RFC 9113, 6.9.2).
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
