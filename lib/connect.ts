import { SvmError, invalidArgType, invalidArgValue } from './errors.js';
import type { Kernel } from './kernel.js';
import { openLinuxKernel } from './linux/open.js';
import type { Roots } from './linux/roots.js';
import type { SvmDevice } from './svm/device.js';
import { discoverDevices } from './svm/discovery.js';

/** Options of the mock machine; see `createMockKernel` of 'intel-svm/mock'. */
type MockOptions = import('../mock/index.js').MockKernelOptions;

/** A backend's name, as `connect` and INTEL_SVM_BACKEND take it. */
export type BackendChoice = 'linux' | 'mock' | 'auto';

export interface ConnectOptions {
  /**
   * - 'linux': the kernel of this machine;
   * - 'mock': a machine in memory (`options.mock`);
   * - 'auto': 'linux' where it has a device that can be bound, else 'mock'; the result says which, and why.
   *
   * Default: the environment variable INTEL_SVM_BACKEND, else 'linux'.
   */
  readonly backend?: BackendChoice;
  /** The mock's machine. Default: a DSA and an IAX. */
  readonly mock?: MockOptions;
  /** Where this machine's file systems are mounted, e.g. in a container. Default: '/dev', '/sys', '/proc'. */
  readonly roots?: Partial<Roots>;
  /** A kernel that is there already, e.g. a process of a mock kernel. Excludes all other options. */
  readonly kernel?: Kernel;
}

/** A kernel to work with, and how it was chosen. */
export interface Connection {
  /** Which implementation it is. */
  readonly backend: 'linux' | 'mock';
  /** Why this one: in words, for a report. */
  readonly reason: string;
  readonly kernel: Kernel;
  /** The accelerators that can be bound now. */
  devices(): SvmDevice[];
}

/**
 * Opens a backend. It never falls back to the mock unasked.
 *
 * @throws SvmError ENODEV where the machine has no accelerator or the addon is missing: `hint` says which, and what to do
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for an unknown backend, also in INTEL_SVM_BACKEND
 */
export async function connect(options: ConnectOptions = {}): Promise<Connection> {
  const given: unknown = options;
  if (typeof given !== 'object' || given === null) throw invalidArgType('options', 'an object', given);
  if (options.kernel !== undefined) {
    if (options.backend !== undefined || options.mock !== undefined || options.roots !== undefined) {
      throw invalidArgValue('options', 'must not name a backend, a mock or roots beside a kernel');
    }
    requireKernel(options.kernel);
    return connection(options.kernel, 'the caller brought its kernel');
  }
  const fromEnvironment = process.env['INTEL_SVM_BACKEND'] || undefined;
  const backend: string = options.backend ?? fromEnvironment ?? 'linux';
  const asker = options.backend === undefined ? fromEnvironment && 'INTEL_SVM_BACKEND' : 'the caller';
  const reason = asker === undefined ? 'the default' : `asked for by ${asker}`;
  switch (backend) {
    case 'linux':
      return connection(openLinuxKernel(options.roots), reason);
    case 'mock':
      return openMock(options.mock, reason);
    case 'auto':
      return openAny(options);
    default: {
      const argument = options.backend === undefined ? 'INTEL_SVM_BACKEND' : 'options.backend';
      throw invalidArgValue(argument, `must be 'linux', 'mock' or 'auto'. Received '${backend}'`);
    }
  }
}

/**
 * The accelerators that can be bound: `(await connect(options)).devices()`.
 * @throws as `connect`
 */
export async function devices(options: ConnectOptions = {}): Promise<SvmDevice[]> {
  return (await connect(options)).devices();
}

function requireKernel(kernel: unknown): void {
  if (typeof kernel === 'object' && kernel !== null && 'sysfs' in kernel && 'open' in kernel) return;
  throw invalidArgType('options.kernel', 'a Kernel, such as the `self` of a mock kernel', kernel);
}

async function openAny({ mock, roots }: ConnectOptions): Promise<Connection> {
  try {
    const found = connection(openLinuxKernel(roots), 'this machine has an accelerator');
    if (found.devices().length > 0) return found;
    return openMock(mock, 'the accelerator of this machine has no enabled work queue of type "user"');
  } catch (error) {
    if (!(error instanceof SvmError)) throw error;
    return openMock(mock, `no accelerator to use: ${error.hint ?? error.message}`);
  }
}

/** The one place that loads the mock: a program that never asks for it never reads its code. */
async function openMock(options: MockOptions | undefined, reason: string): Promise<Connection> {
  const { createMockKernel } = await import('../mock/index.js');
  return connection(createMockKernel(options).self, reason);
}

function connection(kernel: Kernel, reason: string): Connection {
  return { backend: kernel.backend, reason, kernel, devices: () => discoverDevices(kernel) };
}
