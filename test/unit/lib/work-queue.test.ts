import { describe, expect, it, onTestFinished } from 'vitest';
import { DESC_FLAG, DSA_OPCODE, WorkQueue, bindMm, findHardwarePasid, unbindMm, type SvmDevice } from 'intel-svm';
import { createMockKernel, type MockKernel, type MockKernelOptions, type Semantics } from 'intel-svm/mock';

const OPTIONS: MockKernelOptions = {
  devices: [
    {
      type: 'dsa',
      bdf: '0000:6a:01.0',
      workQueues: [
        { mode: 'dedicated', size: 4, blockOnFault: true },
        { mode: 'shared', size: 4, blockOnFault: true },
      ],
    },
    { type: 'iax', bdf: '0000:6a:02.0', workQueues: [{ mode: 'dedicated', size: 4 }] },
  ],
};

interface Fixture {
  readonly kernel: MockKernel;
  readonly dedicated: SvmDevice;
  readonly shared: SvmDevice;
  readonly iax: SvmDevice;
}

function machine(semantics: Semantics): Fixture {
  const kernel = createMockKernel({ ...OPTIONS, semantics });
  const [dedicated, shared, iax] = kernel.self.devices();
  if (dedicated === undefined || shared === undefined || iax === undefined) throw new Error('three queues expected');
  return { kernel, dedicated, shared, iax };
}

/** What a program must have given back, whatever went wrong. */
const NOTHING = { bindings: 0, openFiles: 0, deviceMappings: 0, pinnedBuffers: 0, allocations: 0 };

const noop = { opcode: DSA_OPCODE.NOOP };

/** Constructs with arguments that the types would not allow. */
const make =
  (...given: unknown[]) =>
  () =>
    Reflect.construct(WorkQueue, given);

/** A descriptor that waits for a page which will not come. */
const touching = (address: bigint) => ({
  opcode: DSA_OPCODE.MEMFILL,
  flags: DESC_FLAG.BOF,
  dstAddr: address,
  xferSize: 64,
});

describe.each<Semantics>(['legacy', 'modern'])('WorkQueue, %s', (semantics) => {
  it('close rejects what the device dropped, and gives everything back', async () => {
    const { kernel, dedicated } = machine(semantics);
    const queue = new WorkQueue(dedicated);
    kernel.inject('queue-full', 1);
    const dropped = queue.run(noop);
    const done = queue.run(noop);
    await expect(done).resolves.toMatchObject({ status: 1 });
    const closed = queue.close();
    await expect(dropped).rejects.toMatchObject({ code: 'ECANCELED', hint: expect.stringContaining('closed before') });
    await closed;
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it('close rejects what waits for a lost page request', async () => {
    const { kernel, dedicated } = machine(semantics);
    const queue = new WorkQueue(dedicated);
    kernel.inject('page-request-overflow', 1);
    const target = kernel.self.alloc(64, { populate: false });
    const waiting = queue.run(touching(target.address), [target.bytes]);
    const closed = queue.close();
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' });
    await closed;
    kernel.self.free(target);
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it('a signal ends a wait; memory stays held until the queue is closed', async () => {
    const { kernel, dedicated } = machine(semantics);
    const queue = new WorkQueue(dedicated);
    kernel.inject('page-request-overflow', 1);
    const target = kernel.self.alloc(64, { populate: false });
    const controller = new AbortController();
    const run = queue.run(touching(target.address), [target.bytes], { signal: controller.signal });
    setImmediate(() => controller.abort(new Error('enough')));
    await expect(run).rejects.toThrow('enough');
    expect(kernel.counters()).toMatchObject({ pinnedBuffers: 1 });
    expect(() => kernel.self.free(target)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    await expect(queue.run(noop, [], { signal: controller.signal })).rejects.toThrow('enough');
    await queue.close();
    kernel.self.free(target);
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it.each(['software-reset', 'flr', 'system-reset'] as const)(
    'a halted device (%s) ends what it lost',
    async (recovery) => {
      const { kernel, dedicated } = machine(semantics);
      const queue = new WorkQueue(dedicated);
      const run = queue.run(noop);
      kernel.inject('device-halt', { device: 'dsa0', recovery });
      const closed = queue.close();
      await expect(run).rejects.toMatchObject({ code: expect.stringMatching(/^(ENXIO|ECANCELED)$/) });
      await closed.catch(() => {});
      expect(kernel.counters()).toMatchObject(NOTHING);
    },
  );

  it('a queue that was disabled takes nothing: ENXIO', async () => {
    const { kernel, dedicated } = machine(semantics);
    const queue = new WorkQueue(dedicated);
    kernel.self.sysfs.write('/sys/bus/dsa/drivers/user/unbind', 'wq0.0');
    await expect(queue.run(noop)).rejects.toMatchObject({ code: 'ENXIO', hint: expect.stringContaining('disabled') });
    await queue.close();
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it('runs that wait for a slot are refused by close, those that were submitted are finished', async () => {
    const { kernel, dedicated } = machine(semantics);
    const queue = new WorkQueue(dedicated);
    const runs = Array.from({ length: 6 }, () => queue.run(noop));
    const closed = queue.close();
    const results = await Promise.allSettled(runs);
    expect(results.map(({ status }) => status)).toEqual([...Array(4).fill('fulfilled'), 'rejected', 'rejected']);
    await closed;
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it('a dedicated queue has one WorkQueue in a process: its entries are counted by one', async () => {
    const { kernel, dedicated, shared } = machine(semantics);
    const first = new WorkQueue(dedicated);
    expect(() => new WorkQueue(dedicated)).toThrow(expect.objectContaining({ code: 'EBUSY', path: dedicated.path }));
    const others = [new WorkQueue(shared), new WorkQueue(shared)];
    await first.close();
    const again = new WorkQueue(dedicated);
    for (const queue of [again, ...others]) await queue.close();
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it('close says that somebody else unbound it, and gives the rest back', async () => {
    const { kernel, dedicated } = machine(semantics);
    const queue = new WorkQueue(dedicated);
    unbindMm(dedicated, queue.pasid);
    await expect(queue.close()).rejects.toMatchObject({ code: 'EINVAL', syscall: 'unbind_mm' });
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it.each(['exec', 'exit'] as const)('close after %s has nothing to give back', async (end) => {
    const { kernel, dedicated } = machine(semantics);
    const queue = new WorkQueue(dedicated);
    const run = queue.run(noop);
    kernel.self[end]();
    const closed = queue.close();
    await expect(run).rejects.toMatchObject({ code: 'ESRCH' });
    await closed;
    expect(kernel.counters()).toMatchObject({ ...NOTHING, bindings: semantics === 'legacy' ? 1 : 0 });
  });

  it('memory of a ring stays while another holder keeps the file open', async () => {
    const { kernel, dedicated } = machine(semantics);
    const pasid = bindMm(dedicated);
    const queue = new WorkQueue(dedicated);
    kernel.inject('queue-full', 1);
    const dropped = queue.run(noop);
    const closed = queue.close();
    await expect(dropped).rejects.toMatchObject({ code: 'ECANCELED' });
    await closed;
    unbindMm(dedicated, pasid);
    expect(kernel.counters()).toMatchObject(NOTHING);
  });

  it('refuses what is no DSA queue and no option', async () => {
    const { kernel, dedicated, iax } = machine(semantics);
    expect(make({})).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
    expect(make(dedicated, null)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
    expect(make(dedicated, { submission: 'foo' })).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }));
    expect(make(iax)).toThrow(expect.objectContaining({ code: 'EINVAL', path: iax.path }));
    const queue = new WorkQueue(dedicated);
    const bad: object = { opcode: 0, nonsense: 1 };
    await expect(queue.run(bad)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' });
    await expect(queue.run({ opcode: 0x100 })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' });
    await expect(queue.run(noop)).resolves.toMatchObject({ status: 1 });
    const sources: unknown = { sources: ['crystal ball'] };
    await expect(Reflect.apply(findHardwarePasid, undefined, [dedicated, queue.pasid, sources])).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    });
    await queue.close();
    expect(kernel.counters()).toMatchObject(NOTHING);
  });
});

describe('WorkQueue on kernels that bind in open', () => {
  it('does not lose a completion to a faultCb that throws', async () => {
    const { dedicated } = machine('modern');
    const thrown = new Promise((resolve) => process.setUncaughtExceptionCaptureCallback(resolve));
    onTestFinished(() => process.setUncaughtExceptionCaptureCallback(null));
    const ops = {
      faultCb: () => {
        throw new Error('from the callback');
      },
    };
    const queue = new WorkQueue(dedicated, { ops });
    await expect(queue.run({ opcode: DSA_OPCODE.MEMFILL, dstAddr: 4096n, xferSize: 8 })).resolves.toMatchObject({
      status: 0x83,
    });
    await expect(thrown).resolves.toMatchObject({ message: 'from the callback' });
    await queue.close();
  });
});
