import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

/** Where the .proto files lie; imports are resolved from here. */
const protoRoot = fileURLToPath(new URL('.', import.meta.url));
const folder = 'radscribe/v1/';

/** Our files, relative to `protoRoot`, in alphabetical order. */
const protoFiles: readonly string[] = readdirSync(`${protoRoot}${folder}`)
  .filter((name) => name.endsWith('.proto'))
  .sort()
  .map((name) => `${folder}${name}`);

/** All of our files with their comments. */
export function parseSchema(): protobuf.Root {
  const root = new protobuf.Root();
  const resolve = root.resolvePath.bind(root);
  root.resolvePath = (origin, target) =>
    target.startsWith('google/protobuf/') ? resolve(origin, target) : `${protoRoot}${target}`;
  root.loadSync([...protoFiles], { alternateCommentMode: true });
  root.resolveAll();
  return root;
}

/** Every named thing below a namespace, depth first, in the order of the files. */
export function* walk(namespace: protobuf.NamespaceBase): Generator<protobuf.ReflectionObject> {
  for (const object of namespace.nestedArray) {
    if (!(object instanceof protobuf.Namespace && object.constructor === protobuf.Namespace)) {
      yield object;
    }
    if (object instanceof protobuf.Namespace) yield* walk(object);
  }
}

/** e.g. `radscribe.v1.Tensor` */
export const fullName = (object: protobuf.ReflectionObject): string =>
  object.fullName.replace(/^\./, '');
