import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Cleanup } from './cluster.ts';
import { findProgram } from './manifests.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const protos = path.join(root, 'proto');
const clients = path.join(root, 'docs/clients');

/** A way to run a client program: what goes before its arguments, and the environment it needs. */
interface Program {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** An example client of docs/clients in one language. */
export interface ExampleClient {
  readonly language: string;
  /** The tool that this machine lacks; undefined where the client can be built. */
  readonly lacks: string | undefined;
  /** Generates the stubs and builds the client in a folder of its own. */
  build(cleanup: Cleanup): Promise<Program>;
}

async function makeFolder(cleanup: Cleanup): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'radscribe-client-'));
  cleanup.add(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const missing = (names: readonly string[]): string | undefined =>
  names.find((name) => findProgram(name) === undefined);

async function protoc(args: readonly string[], files: readonly string[]): Promise<void> {
  const ours = (await readdir(path.join(protos, 'radscribe/v1'))).map(
    (name) => `radscribe/v1/${name}`,
  );
  await run('protoc', [`-I${protos}`, ...args, ...files, ...ours]);
}

const typescript: ExampleClient = {
  language: 'TypeScript',
  lacks: undefined,
  build: async () => ({
    command: [process.execPath, path.join(clients, 'typescript/client.ts')],
    env: {},
  }),
};

/** Debian's interpreter first: a version manager's, before it in PATH, has none of Debian's modules. */
const python = ['/usr/bin/python3', findProgram('python3') ?? ''].find(existsSync);
const hasModules = await run(python ?? '', ['-c', 'import grpc, google.protobuf']).then(
  () => true,
  () => false,
);

const pythonClient: ExampleClient = {
  language: 'Python',
  lacks: hasModules ? missing(['protoc', 'grpc_python_plugin']) : 'grpcio of Python',
  async build(cleanup) {
    const stubs = await makeFolder(cleanup);
    const plugin = `--plugin=protoc-gen-grpc_python=${findProgram('grpc_python_plugin')}`;
    const details = ['google/rpc/status.proto', 'google/rpc/error_details.proto'];
    await protoc([plugin, `--python_out=${stubs}`, `--grpc_python_out=${stubs}`], details);
    const command = [python!, path.join(clients, 'python/client.py')];
    return { command, env: { PYTHONPATH: stubs, PYTHONDONTWRITEBYTECODE: '1' } };
  },
};

/** Where Debian puts the sources of Go packages. */
const goPackages = '/usr/share/gocode';

/** `credentials/insecure` came with grpc 1.34; Debian 12 has 1.33. */
const insecurePackage = `package insecure

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
)

type plaintext struct{}

func (plaintext) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, nil, nil
}
func (plaintext) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) { return c, nil, nil }
func (plaintext) Info() credentials.ProtocolInfo                                     { return credentials.ProtocolInfo{} }
func (plaintext) Clone() credentials.TransportCredentials                            { return plaintext{} }
func (plaintext) OverrideServerName(string) error                                    { return nil }

func NewCredentials() credentials.TransportCredentials { return plaintext{} }
`;

/** grpc, and golang/protobuf 1.4 or newer: Debian has 1.3 beside it, which cannot read generated code. */
const goSources = ['google.golang.org/grpc', 'github.com/golang/protobuf/proto/registry.go'];

const go: ExampleClient = {
  language: 'Go',
  lacks:
    missing(['go', 'protoc', 'protoc-gen-go', 'protoc-gen-go-grpc']) ??
    goSources.find((source) => !existsSync(`${goPackages}/src/${source}`)),
  async build(cleanup) {
    const folder = await makeFolder(cleanup);
    const source = path.join(folder, 'src/radscribe.dev');
    await mkdir(source, { recursive: true });
    await cp(path.join(clients, 'go/main.go'), path.join(source, 'main.go'));
    await protoc([`--go_out=${folder}/src`, `--go-grpc_out=${folder}/src`], []);
    const insecure = 'google.golang.org/grpc/credentials/insecure';
    if (!existsSync(path.join(goPackages, 'src', insecure))) {
      await mkdir(path.join(source, 'vendor', insecure), { recursive: true });
      await writeFile(path.join(source, 'vendor', insecure, 'insecure.go'), insecurePackage);
    }
    const program = path.join(folder, 'client');
    // Without a module proxy: Debian's packages, found by GOPATH. The cache outlives the test.
    await run('go', ['build', '-o', program, 'radscribe.dev'], {
      cwd: source,
      env: {
        ...process.env,
        GO111MODULE: 'off',
        GOFLAGS: '',
        GOPATH: `${folder}${path.delimiter}${goPackages}`,
        GOCACHE: path.join(root, 'node_modules/.cache/go-build'),
      },
    });
    return { command: [program], env: {} };
  },
};

export const exampleClients: readonly ExampleClient[] = [typescript, pythonClient, go];

/** Runs a client to its end. */
export function runClient(
  { command, env }: Program,
  args: readonly string[],
  settings: Readonly<Record<string, string>> = {},
) {
  const [file = '', ...first] = command;
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    const options = { env: { PATH: process.env['PATH'], ...env, ...settings } };
    const child = execFile(file, [...first, ...args], options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}
