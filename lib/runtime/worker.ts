import { parentPort } from 'node:worker_threads';
import { InferenceSession, type Tensor as OrtTensor } from 'onnxruntime-node';
import { type Dtype, bytesPerElement } from '../graph/types.ts';
import type {
  KeptReference,
  Message,
  Reply,
  Requests,
  RunResult,
  SessionInfo,
  ValueInfo,
  Verb,
  WireTensor,
} from './protocol.ts';

/**
 * The thread that owns ONNX Runtime's sessions: `run` and `create` of onnxruntime-node block their
 * thread although they return promises.
 */
interface Loaded {
  readonly session: InferenceSession;
  readonly bound: boolean;
}
interface Answer<V extends Verb> {
  readonly value: Requests[V]['reply'];
  readonly transfer?: readonly ArrayBuffer[];
}

const sessions = new Map<number, Loaded>();
const kept = new Map<number, OrtTensor>();

const verbs: {
  [V in Verb]: (request: Requests[V]['request']) => Promise<Answer<V>>;
} = {
  async load({ session: id, model, options, onDevice }) {
    const places = Object.fromEntries(onDevice.map((name) => [name, 'gpu-buffer' as const]));
    const session = await create(
      model,
      onDevice.length > 0 ? { ...options, preferredOutputLocation: places } : options,
    );
    try {
      const value = describe(session);
      sessions.set(id, { session, bound: onDevice.length > 0 });
      return { value };
    } catch (error) {
      await session.release();
      throw error;
    }
  },

  async run({ session: id, feeds, fetch, keep }) {
    const { session, bound } = sessions.get(id) as Loaded;
    const given = Object.entries(feeds).map(([name, feed]) => [name, feedOf(feed)]);
    const wanted = [...new Set([...fetch, ...keep.keys()])];
    // With outputs on the device, the binding takes places by position: it needs all of them.
    const names = bound || wanted.length === 0 ? session.outputNames : wanted;
    const results = await session.run(Object.fromEntries(given) as never, names);
    const fetched: Record<string, WireTensor> = {};
    const keptInfos: Record<string, RunResult['kept'][string]> = {};
    for (const [name, tensor] of Object.entries(results)) {
      const { type, dims: shape } = tensor;
      const dtype = type as Dtype;
      const keptId = keep.get(name);
      if (fetch.includes(name)) fetched[name] = wireOf(tensor, keptId !== undefined);
      if (keptId !== undefined) {
        kept.set(keptId, tensor);
        keptInfos[name] = { dtype, shape };
      } else if (tensor.location !== 'cpu') {
        tensor.dispose();
      }
    }
    return {
      value: { fetched, kept: keptInfos },
      transfer: Object.values(fetched).map(({ buffer }) => buffer),
    };
  },

  async unload({ session }) {
    await sessions.get(session)?.session.release();
    sessions.delete(session);
    return { value: undefined };
  },

  async release({ kept: ids }) {
    for (const id of ids) {
      kept.get(id)?.dispose();
      kept.delete(id);
    }
    return { value: undefined };
  },

  async clear() {
    for (const tensor of kept.values()) tensor.dispose();
    kept.clear();
    for (const { session } of sessions.values()) await session.release();
    sessions.clear();
    return { value: undefined };
  },
};

const create = (
  model: string | Uint8Array,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> =>
  typeof model === 'string'
    ? InferenceSession.create(model, options)
    : InferenceSession.create(model, options);

function describe(session: InferenceSession): SessionInfo {
  const infoOf = (meta: InferenceSession.ValueMetadata): ValueInfo => {
    if (!meta.isTensor || !(meta.type in bytesPerElement)) {
      const what = meta.isTensor ? meta.type : 'not a tensor';
      throw new Error(`${meta.name} is ${what}, which this engine does not carry`);
    }
    return { name: meta.name, dtype: meta.type as Dtype, shape: meta.shape };
  };
  return {
    inputs: session.inputMetadata.map(infoOf),
    outputs: session.outputMetadata.map(infoOf),
  };
}

/** The arrays that onnxruntime-node takes; it reads no bytes from a Float16Array. */
const feedViews: Readonly<Partial<Record<Dtype, new (buffer: ArrayBuffer) => object>>> = {
  float64: Float64Array,
  float32: Float32Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint32: Uint32Array,
};

function feedOf(feed: WireTensor | KeptReference): object {
  if ('buffer' in feed) return cpuFeed(feed.dtype, feed.shape, feed.buffer);
  const tensor = kept.get(feed.kept) as OrtTensor;
  if (tensor.location !== 'cpu') return tensor;
  const { buffer, byteOffset, byteLength } = tensor.data as Uint8Array<ArrayBuffer>;
  const whole = byteOffset === 0 && byteLength === buffer.byteLength;
  return cpuFeed(
    tensor.type as Dtype,
    tensor.dims,
    whole ? buffer : buffer.slice(byteOffset, byteOffset + byteLength),
  );
}

/** What the native binding reads of a tensor; its Tensor class would turn float16 into Float16Array. */
function cpuFeed(type: Dtype, dims: readonly number[], buffer: ArrayBuffer): object {
  const View = feedViews[type] ?? Uint8Array;
  return { type, dims, location: 'cpu', data: new View(buffer) };
}

function wireOf(tensor: OrtTensor, copy: boolean): WireTensor {
  const { buffer, byteOffset, byteLength } = tensor.data as Uint8Array<ArrayBuffer>;
  const whole = byteOffset === 0 && byteLength === buffer.byteLength;
  return {
    dtype: tensor.type as Dtype,
    shape: tensor.dims,
    buffer: whole && !copy ? buffer : buffer.slice(byteOffset, byteOffset + byteLength),
  };
}

parentPort?.on('message', ({ verb, request }: Message) => {
  void answer(verb, request);
});

async function answer(verb: Verb, request: Message['request']): Promise<void> {
  const post = (reply: Reply, transfer: readonly ArrayBuffer[] = []): void =>
    parentPort?.postMessage(reply, transfer);
  try {
    const { value, transfer } = await (
      verbs[verb] as (request: Message['request']) => Promise<Answer<Verb>>
    )(request);
    post({ value }, transfer);
  } catch (error) {
    post({ error: error instanceof Error ? error.message : String(error) });
  }
}
