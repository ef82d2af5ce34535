import { Client, credentials } from '@grpc/grpc-js';
import test from 'ava';
import protobuf from 'protobufjs';
import descriptor from 'protobufjs/ext/descriptor.js';
import { bind, startServer } from '../lib/rpc/server.ts';
import { labelerService } from '../lib/rpc/services.ts';
import { testTelemetry } from './support/services.ts';

/** The part of grpc.reflection.v1 that a plain client needs. */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message Request { oneof ask { string symbol = 4; string list = 7; } }
  message Files { repeated bytes file = 1; }
  message Service { string name = 1; }
  message Services { repeated Service service = 1; }
  message Failure { int32 code = 1; string message = 2; }
  message Response { oneof answer { Files files = 4; Services services = 6; Failure failure = 7; } }
`);
const request = root.lookupType('Request');
const response = root.lookupType('Response');

test('a plain client finds the services and their messages by reflection', async (t) => {
  const { telemetry } = testTelemetry('labeler');
  const services = [bind(labelerService, { classify: async () => ({}) })];
  const server = await startServer({ host: '127.0.0.1', port: 0, telemetry, services });
  t.teardown(() => server.close());
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
  t.teardown(() => client.close());
  const ask = (question: object): Promise<Record<string, never>> =>
    new Promise((resolve, reject) => {
      const call = client.makeBidiStreamRequest(
        '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
        (message: object) => Buffer.from(request.encode(message).finish()),
        (bytes: Buffer) => response.decode(bytes).toJSON(),
      );
      call.on('data', resolve);
      call.on('error', reject);
      call.write(question);
      call.end();
    });
  t.like(await ask({ list: '' }), {
    services: { service: [{ name: 'radscribe.v1.LabelerService' }] },
  });
  const found = (await ask({ symbol: 'radscribe.v1.LabelerService' })) as unknown as {
    files: { file: string[] };
  };
  const files = found.files.file.map((bytes) => Buffer.from(bytes, 'base64'));
  const names = new Set(
    files.flatMap((bytes) => {
      const file = descriptor.FileDescriptorProto.decode(bytes) as descriptor.IFileDescriptorProto;
      return [...(file.service ?? []), ...(file.messageType ?? [])].map(({ name }) => name);
    }),
  );
  t.true(names.has('LabelerService'));
  t.true(names.has('ClassifyRequest'));
  t.like(await ask({ symbol: 'radscribe.v1.NoService' }), { failure: { code: 5 } });
});
