import { afterEach, describe, expect, it, vi } from 'vitest';
import { connect, devices } from 'intel-svm';
import { createMockKernel } from 'intel-svm/mock';

afterEach(() => vi.unstubAllEnvs());

const fails = (code: string): unknown => expect.objectContaining({ code });

describe('connect', () => {
  it('gives the mock to whoever asks for it', async () => {
    const connection = await connect({ backend: 'mock' });
    expect(connection).toMatchObject({ backend: 'mock', reason: 'asked for by the caller' });
    expect(connection.devices().map(({ path }) => path)).toEqual([
      '/dev/dsa/wq0.0',
      '/dev/dsa/wq0.1',
      '/dev/iax/wq1.0',
    ]);
  });

  it('hands the mock its options', async () => {
    const mock = { devices: [{ type: 'uacce', bdf: '0000:75:00.0' }] } as const;
    const found = await devices({ backend: 'mock', mock });
    expect(found.map(({ path, type }) => ({ path, type }))).toEqual([{ path: '/dev/hisi_zip-0', type: 'uacce' }]);
  });

  it('reads INTEL_SVM_BACKEND, and lets an option win over it', async () => {
    vi.stubEnv('INTEL_SVM_BACKEND', 'mock');
    await expect(connect()).resolves.toMatchObject({ backend: 'mock', reason: 'asked for by INTEL_SVM_BACKEND' });
    vi.stubEnv('INTEL_SVM_BACKEND', 'nonsense');
    await expect(connect({ backend: 'mock' })).resolves.toMatchObject({ backend: 'mock' });
    await expect(connect()).rejects.toThrow(/"INTEL_SVM_BACKEND" argument must be 'linux', 'mock' or 'auto'/);
    vi.stubEnv('INTEL_SVM_BACKEND', '');
    await expect(connect({ backend: 'auto' })).resolves.toBeDefined();
  });

  it('takes a kernel as it is', async () => {
    const { self } = createMockKernel();
    const connection = await connect({ kernel: self });
    expect(connection.kernel).toBe(self);
    expect(connection.devices()).toEqual(self.devices());
    await expect(connect({ kernel: self, backend: 'mock' })).rejects.toThrow(fails('ERR_INVALID_ARG_VALUE'));
  });

  it('refuses what is no set of options', async () => {
    await expect(Reflect.apply(connect, undefined, [null])).rejects.toThrow(fails('ERR_INVALID_ARG_TYPE'));
    await expect(Reflect.apply(connect, undefined, [{ backend: 'vulkan' }])).rejects.toThrow(
      fails('ERR_INVALID_ARG_VALUE'),
    );
  });
});

describe('discovery', () => {
  it('gives the same objects twice', () => {
    const { self } = createMockKernel();
    const [first, ...rest] = self.devices();
    expect(self.devices()[0]).toBe(first);
    expect(rest).toHaveLength(2);
  });

  it('tells what sysfs tells', () => {
    const { self } = createMockKernel({
      devices: [{ type: 'iax', bdf: '0000:e7:02.0', numaNode: 1, workQueues: [{ mode: 'shared', size: 8 }] }],
    });
    expect(self.devices()[0]).toMatchObject({
      path: '/dev/iax/wq0.0',
      name: 'wq0.0',
      type: 'iax',
      accelerator: 'iax0',
      bdf: '0000:e7:02.0',
      numaNode: 1,
    });
  });

  it('leaves out queues without a node', () => {
    const { self } = createMockKernel({
      devices: [
        {
          type: 'dsa',
          bdf: '0000:6a:01.0',
          workQueues: [
            { mode: 'dedicated', size: 8, enabled: false },
            { mode: 'dedicated', size: 8, type: 'kernel' },
            { mode: 'dedicated', size: 8 },
          ],
        },
      ],
    });
    expect(self.devices().map(({ name }) => name)).toEqual(['wq0.2']);
  });
});
