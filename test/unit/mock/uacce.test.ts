import {
  createMockKernel,
  type MockKernel,
  type MockKernelOptions,
  type Semantics,
  type UacceDeviceOptions,
} from 'intel-svm/mock';
import { describe, expect, it } from 'vitest';
import {
  HISI_QP_CTX,
  HISI_QP_INFO,
  UACCE_CMD_PUT_Q,
  UACCE_CMD_QM_SET_QP_CTX,
  UACCE_CMD_QM_SET_QP_INFO,
  UACCE_CMD_START_Q,
} from '../../../lib/abi/uacce.js';
import { UacceDevice } from '../../../mock/devices/uacce/device.js';
import { PAGE, errno } from './idxd-tools.js';

const PATH = '/dev/hisi_zip-0';

const withUacce = (device: Partial<UacceDeviceOptions> = {}, options: MockKernelOptions = {}): MockKernel =>
  createMockKernel({ ...options, devices: [{ type: 'uacce', bdf: '0000:75:00.0', ...device }] });

function context(kernel: MockKernel, fd: number, qcType: number) {
  const bytes = new Uint8Array(HISI_QP_CTX.size);
  const view = new DataView(bytes.buffer);
  HISI_QP_CTX.set(view, 0, 'qcType', qcType);
  const error = errno(() => kernel.self.ioctl(fd, UACCE_CMD_QM_SET_QP_CTX, bytes));
  return error ?? HISI_QP_CTX.get(view, 0, 'id');
}

describe('open', () => {
  it.each<[Semantics, boolean]>([
    ['legacy', true],
    ['modern', true],
    ['modern', false],
  ])('ENOMEM without memory: %s, sva %s', (semantics, sva) => {
    const kernel = withUacce({ sva }, { semantics });
    using failure = kernel.inject('allocation-failure', 1);
    expect(errno(() => kernel.self.open(PATH))).toBe('ENOMEM');
    expect(failure.hits).toBe(1);
    expect(errno(() => kernel.self.open(PATH))).toBeUndefined();
  });
});

describe('mmap', () => {
  it('a bad region, no memory, a queue that was put, a region mapped before, a length that does not fit: in this order', () => {
    const kernel = withUacce();
    const { self } = kernel;
    const fd = self.open(PATH);
    const map = (length: number, region: number) => errno(() => self.mmap(fd, length, region * PAGE));
    kernel.inject('allocation-failure', 1);
    expect(map(PAGE, 2)).toBe('EINVAL');
    expect(map(3 * PAGE, 0)).toBe('ENOMEM');
    expect(map(3 * PAGE, 0)).toBe('EINVAL');
    expect(map(2 * PAGE, 0)).toBeUndefined();
    expect(map(3 * PAGE, 0)).toBe('EEXIST');
    expect([map(0x10000, 1), map(0x11000, 1)]).toEqual(['EINVAL', undefined]);
  });

  it('a region that the device does not have: EINVAL, ENXIO once the queue is put', () => {
    const { self } = withUacce({ mmioSize: 0, dusSize: 0 }, { uaccePutQ: 'zombie' });
    const fd = self.open(PATH);
    const maps = () => [0, 1].map((region) => errno(() => self.mmap(fd, PAGE, region * PAGE)));
    expect(maps()).toEqual(['EINVAL', 'EINVAL']);
    self.ioctl(fd, UACCE_CMD_PUT_Q);
    expect(maps()).toEqual(['ENXIO', 'ENXIO']);
  });
});

describe('ioctls of the queue manager', () => {
  it('SET_QP_CTX takes kinds 0 to 2 and tells the number of the queue, the next free one', () => {
    const kernel = withUacce({ instances: 3 });
    const [first, second, third] = [1, 2, 3].map(() => kernel.self.open(PATH));
    expect([first, second, third].map((fd, kind) => context(kernel, fd ?? -1, kind))).toEqual([0, 1, 2]);
    expect(context(kernel, first ?? -1, 3)).toBe('EINVAL');
    expect(errno(() => kernel.self.open(PATH))).toBe('EBUSY');
    kernel.self.close(second ?? -1);
    expect(context(kernel, kernel.self.open(PATH), 0)).toBe(1);
  });

  it('SET_QP_INFO tells the sizes of the queue', () => {
    const kernel = withUacce();
    const fd = kernel.self.open(PATH);
    const bytes = new Uint8Array(HISI_QP_INFO.size);
    expect(kernel.self.ioctl(fd, UACCE_CMD_QM_SET_QP_INFO, bytes)).toBe(0);
    const view = new DataView(bytes.buffer);
    expect(HISI_QP_INFO.get(view, 0, 'sqeSize')).toBe(128);
    expect([HISI_QP_INFO.get(view, 0, 'sqDepth'), HISI_QP_INFO.get(view, 0, 'cqDepth')]).toEqual([1024, 1024]);
  });

  it.each([UACCE_CMD_QM_SET_QP_CTX, UACCE_CMD_QM_SET_QP_INFO])(
    '%i: EFAULT without argument or with a short one, EINVAL on other drivers, ENXIO on a queue that was put',
    (request) => {
      const kernel = withUacce({}, { uaccePutQ: 'zombie' });
      const fd = kernel.self.open(PATH);
      const call = (argument?: Uint8Array) => errno(() => kernel.self.ioctl(fd, request, argument));
      expect([call(), call(new Uint8Array(3))]).toEqual(['EFAULT', 'EFAULT']);
      kernel.self.ioctl(fd, UACCE_CMD_START_Q);
      expect(call(new Uint8Array(16))).toBeUndefined();
      kernel.self.ioctl(fd, UACCE_CMD_PUT_Q);
      expect(call(new Uint8Array(16))).toBe('ENXIO');
      const other = withUacce({ api: 'other_v1' });
      const otherFd = other.self.open(PATH);
      expect(errno(() => other.self.ioctl(otherFd, request, new Uint8Array(16)))).toBe('EINVAL');
    },
  );
});

describe('removal', () => {
  it('the node goes, open queues become zombies', () => {
    const kernel = withUacce();
    const fd = kernel.self.open(PATH);
    const [device] = kernel.hardware;
    if (!(device instanceof UacceDevice)) throw new Error('no UACCE device');
    device.remove();
    device.remove();
    expect(errno(() => kernel.self.open(PATH))).toBe('ENOENT');
    expect(errno(() => kernel.self.ioctl(fd, UACCE_CMD_START_Q))).toBe('ENXIO');
    expect(errno(() => kernel.self.close(fd))).toBeUndefined();
  });
});
