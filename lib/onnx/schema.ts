import protobuf from 'protobufjs';
import type { Dtype } from '../graph/types.ts';

/**
 * The part of the ONNX file format that we write: messages and field numbers of onnx.proto (ONNX 1.16,
 * IR version 10). Field names as in the format.
 */
const field = (type: string, id: number): protobuf.IField => ({ type, id });
const repeated = (type: string, id: number): protobuf.IField => ({ type, id, rule: 'repeated' });

const root = protobuf.Root.fromJSON({
  options: { syntax: 'proto3' },
  nested: {
    ModelProto: {
      fields: {
        irVersion: field('int64', 1),
        producerName: field('string', 2),
        producerVersion: field('string', 3),
        graph: field('GraphProto', 7),
        opsetImport: repeated('OperatorSetIdProto', 8),
        metadataProps: repeated('StringStringEntryProto', 14),
      },
    },
    OperatorSetIdProto: { fields: { domain: field('string', 1), version: field('int64', 2) } },
    StringStringEntryProto: { fields: { key: field('string', 1), value: field('string', 2) } },
    GraphProto: {
      fields: {
        node: repeated('NodeProto', 1),
        name: field('string', 2),
        initializer: repeated('TensorProto', 5),
        input: repeated('ValueInfoProto', 11),
        output: repeated('ValueInfoProto', 12),
      },
    },
    NodeProto: {
      fields: {
        input: repeated('string', 1),
        output: repeated('string', 2),
        name: field('string', 3),
        opType: field('string', 4),
        attribute: repeated('AttributeProto', 5),
        domain: field('string', 7),
      },
    },
    AttributeProto: {
      fields: {
        name: field('string', 1),
        f: field('float', 2),
        i: field('int64', 3),
        s: field('bytes', 4),
        g: field('GraphProto', 6),
        ints: repeated('int64', 8),
        type: field('int32', 20),
      },
    },
    TensorProto: {
      fields: {
        dims: repeated('int64', 1),
        dataType: field('int32', 2),
        name: field('string', 8),
        rawData: field('bytes', 9),
        externalData: repeated('StringStringEntryProto', 13),
        dataLocation: field('int32', 14),
      },
    },
    ValueInfoProto: { fields: { name: field('string', 1), type: field('TypeProto', 2) } },
    TypeProto: { fields: { tensorType: field('TensorTypeProto', 1) } },
    TensorTypeProto: {
      fields: { elemType: field('int32', 1), shape: field('TensorShapeProto', 2) },
    },
    TensorShapeProto: { fields: { dim: repeated('DimensionProto', 1) } },
    DimensionProto: {
      oneofs: { value: { oneof: ['dimValue', 'dimParam'] } },
      fields: { dimValue: field('int64', 1), dimParam: field('string', 2) },
    },
  },
});
const model = root.lookupType('ModelProto');

export interface TensorProto {
  readonly name: string;
  readonly dataType: number;
  readonly dims: readonly number[];
  readonly rawData?: Uint8Array;
  readonly externalData?: readonly { readonly key: string; readonly value: string }[];
  /** 1: the data is in the file that externalData names. */
  readonly dataLocation?: 1;
}
export interface AttributeProto {
  readonly name: string;
  readonly type: number;
  readonly f?: number;
  readonly i?: number;
  readonly s?: Uint8Array;
  readonly g?: GraphProto;
  readonly ints?: readonly (number | bigint)[];
}
export interface NodeProto {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly AttributeProto[];
}
export interface ValueInfoProto {
  readonly name: string;
  readonly type: object;
}
export interface GraphProto {
  readonly name: string;
  readonly node: readonly NodeProto[];
  readonly input: readonly ValueInfoProto[];
  readonly output: readonly ValueInfoProto[];
  readonly initializer: readonly TensorProto[];
}
export interface ModelProto {
  readonly irVersion: number;
  readonly producerName: string;
  readonly graph: GraphProto;
  readonly opsetImport: readonly { readonly domain: string; readonly version: number }[];
}

/** ONNX's numbers for dtypes (TensorProto.DataType). */
export const dataTypes: Readonly<Record<Dtype, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  bfloat16: 16,
};

export const encodeModel = (message: ModelProto): Uint8Array => model.encode(message).finish();
