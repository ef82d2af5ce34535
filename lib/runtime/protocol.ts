import type { InferenceSession } from 'onnxruntime-node';
import type { Dtype } from '../graph/types.ts';

/** The protocol between the main thread and a worker: one request, then its reply, then the next. */
export interface WireTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Exactly the tensor's bytes; transferred, never shared. */
  readonly buffer: ArrayBuffer;
}
export interface KeptReference {
  readonly kept: number;
}
export interface KeptInfo {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

export interface ValueInfo {
  readonly name: string;
  readonly dtype: Dtype;
  /** A symbolic dimension is its name; '' where it has none. */
  readonly shape: readonly (number | string)[];
}
export interface SessionInfo {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
}
export interface RunResult {
  readonly fetched: Readonly<Record<string, WireTensor>>;
  readonly kept: Readonly<Record<string, KeptInfo>>;
}

/** Every request that a worker answers, with the type of its reply. The main thread assigns the ids. */
export interface Requests {
  load: {
    request: {
      readonly session: number;
      readonly model: string | Uint8Array;
      readonly options: InferenceSession.SessionOptions;
      /** Outputs that stay on a GPU. */
      readonly onDevice: readonly string[];
    };
    reply: SessionInfo;
  };
  run: {
    request: {
      readonly session: number;
      readonly feeds: Readonly<Record<string, WireTensor | KeptReference>>;
      readonly fetch: readonly string[];
      /** Output names and the ids under which they are kept. */
      readonly keep: ReadonlyMap<string, number>;
    };
    reply: RunResult;
  };
  unload: { request: { readonly session: number }; reply: undefined };
  release: { request: { readonly kept: readonly number[] }; reply: undefined };
  /** Unloads and releases everything. */
  clear: { request: object; reply: undefined };
}
export type Verb = keyof Requests;
export type Message = {
  [V in Verb]: { readonly verb: V; readonly request: Requests[V]['request'] };
}[Verb];
export type Reply = { readonly value: unknown } | { readonly error: string };
