import { describe, expect, it } from 'vitest';
import { COMP_STATUS } from '../../../lib/abi/completion-status.js';
import { DESC_FLAG } from '../../../lib/abi/descriptor-flags.js';
import { DSA_OPCODE } from '../../../lib/abi/dsa.js';
import { POLL } from '../../../lib/kernel.js';
import { KernelBug, type MockKernelOptions } from 'intel-svm/mock';
import { SUBMISSION_ERROR } from '../../../mock/devices/idxd/error-register.js';
import { Client, DSA, PAGE, RECORDED, WQ, bind, errno, machine, swerr, type DsaOptions } from './idxd-tools.js';

const { SUCCESS } = COMP_STATUS;
const NODE = '/dev/dsa/wq0.0';
const SHARED: DsaOptions = { workQueues: [{ mode: 'shared', size: 4 }] };
const shared = (options?: MockKernelOptions) => machine(SHARED, options);

/** What must be zero when everybody has cleaned up; PASIDs live as long as their address space. */
const HELD = { openFiles: 0, deviceMappings: 0, bindings: 0, allocations: 0 };

describe('open (kernel-facts 4.1)', () => {
  it('a dedicated queue has one client', () => {
    const kernel = machine();
    kernel.self.open(NODE);
    expect(errno(() => kernel.spawn().open(NODE))).toBe('EBUSY');
    expect(errno(() => kernel.self.open(NODE))).toBe('EBUSY');
    expect(kernel.self.sysfs.read(`${WQ}/clients`)).toBe('1');
  });

  it('a shared queue has many, and a process may come twice', () => {
    const kernel = shared();
    const other = kernel.spawn();
    const fds = [kernel.self.open(NODE), kernel.self.open(NODE), other.open(NODE)];
    expect(kernel.self.sysfs.read(`${WQ}/clients`)).toBe('3');
    expect(kernel.self.sysfs.read(`${DSA}/clients`)).toBe('3');
    expect(kernel.self.pasid(fds[0] ?? 0)).toBe(kernel.self.pasid(fds[1] ?? 0));
    expect(other.pasid(fds[2] ?? 0)).not.toBe(kernel.self.pasid(fds[0] ?? 0));
  });

  it.each([
    ['EOPNOTSUPP on stable kernels that switched SVA off', { svm: { svaOnX86: false } }, 'EOPNOTSUPP'],
    ['EINVAL without remapping', { iommu: { enabled: false } }, 'EINVAL'],
    ['ENODEV on an IOMMU that cannot do SVM', { iommu: { smpwc: false } }, 'ENODEV'],
  ] as const)('%s: the queue is there, only open fails', (_, options, code) => {
    const kernel = machine({}, options);
    expect(kernel.self.sysfs.read(`${WQ}/state`)).toBe('enabled');
    expect(kernel.self.sysfs.read(`${DSA}/pasid_enabled`)).toBe('1');
    expect(errno(() => kernel.self.open(NODE))).toBe(code);
    expect(kernel.counters()).toMatchObject(HELD);
    expect(kernel.self.sysfs.read(`${WQ}/clients`)).toBe('0');
  });

  it.each(['allocation-failure', 'command-failure', 'pasid-exhaustion'] as const)(
    '%s leaves nothing behind',
    (kind) => {
      const kernel = machine();
      using failure = kernel.inject(kind, 1);
      const code = { 'allocation-failure': 'ENOMEM', 'command-failure': 'ENXIO', 'pasid-exhaustion': 'ENOSPC' }[kind];
      expect(errno(() => kernel.self.open(NODE))).toBe(code);
      expect(failure.hits).toBe(1);
      expect(kernel.counters()).toMatchObject(HELD);
      expect(kernel.self.sysfs.read(`${DSA}/cmd_status`)).toBe(kind === 'command-failure' ? '0x3' : '0x0');
      kernel.self.close(kernel.self.open(NODE));
    },
  );

  it('puts a directory file<N> under the character device, N lowest free over all devices', () => {
    const kernel = shared();
    const { sysfs, pid } = kernel.self;
    const cdev = `${sysfs.realpath(WQ)}/dsa!wq0.0`;
    const [a, b] = [kernel.self.open(NODE), kernel.self.open(NODE)];
    expect(sysfs.list(cdev)).toEqual(['dev', 'file0', 'file1']);
    expect(sysfs.list(`${cdev}/file0`)).toEqual(['cr_fault_failures', 'cr_faults', 'pid']);
    expect(sysfs.read(`${cdev}/file0/pid`)).toBe(String(pid));
    expect(sysfs.read(`${cdev}/file0/cr_faults`)).toBe('0');
    kernel.self.close(a);
    expect(sysfs.list(cdev)).toEqual(['dev', 'file1']);
    kernel.self.open(NODE);
    expect(sysfs.realpath('/sys/bus/dsa/devices/file0')).toBe(`${cdev}/file0`);
    kernel.self.close(b);
  });

  it('the node is root’s alone, unless it is given away', () => {
    const secret = machine();
    expect(errno(() => secret.spawn({ uid: 1000 }).open(NODE))).toBe('EACCES');
    const open = machine({ workQueues: [{ mode: 'shared', size: 4, nodeMode: 0o666 }] });
    expect(errno(() => open.spawn({ uid: 1000 }).open(NODE))).toBeUndefined();
  });

  it('legacy: open only counts', () => {
    const kernel = machine({}, { semantics: 'legacy' });
    const fd = kernel.self.open(NODE);
    expect(kernel.self.pasid(fd)).toBeUndefined();
    expect(errno(() => kernel.self.open(NODE))).toBe('EBUSY');
    expect(kernel.counters()).toMatchObject({ pasids: 0, bindings: 0, openFiles: 1 });
  });
});

describe('mmap (4.2)', () => {
  it('needs CAP_SYS_RAWIO, whatever else is wrong', () => {
    const kernel = machine({ workQueues: [{ mode: 'shared', size: 4, nodeMode: 0o666 }] });
    const user = kernel.spawn({ uid: 1000 });
    const fd = user.open(NODE);
    expect(errno(() => user.mmap(fd, 2 * PAGE))).toBe('EPERM');
    expect(errno(() => kernel.spawn({ uid: 1000, capSysRawio: true }).open(NODE))).toBeUndefined();
  });

  it.each([
    ['an older kernel', {}, { idxd: { mmapNeedsRawio: false } }],
    ['a device that is safe', { userSubmissionSafe: true }, {}],
  ])('%s does not ask for it', (_, device, options) => {
    const kernel = machine({ workQueues: [{ mode: 'shared', size: 4, nodeMode: 0o666 }], ...device }, options);
    const user = kernel.spawn({ uid: 1000 });
    expect(errno(() => user.mmap(user.open(NODE), PAGE))).toBeUndefined();
  });

  it('maps one page, ignoring the offset', () => {
    const kernel = machine();
    const fd = kernel.self.open(NODE);
    expect(errno(() => kernel.self.mmap(fd, PAGE + 1))).toBe('EINVAL');
    expect(errno(() => kernel.self.mmap(fd, 1, 77 * PAGE))).toBeUndefined();
    expect(errno(() => kernel.self.mmap(fd, PAGE))).toBeUndefined();
  });

  it('is refused to a forked child, before the length is looked at', () => {
    const kernel = shared();
    const fd = kernel.self.open(NODE);
    const child = kernel.self.fork();
    expect(errno(() => child.mmap(fd, 2 * PAGE))).toBe('EPERM');
    const old = shared({ idxd: { mmCheck: false } });
    const inherited = old.self.open(NODE);
    expect(errno(() => old.self.fork().mmap(inherited, PAGE))).toBeUndefined();
  });

  it('a mapping keeps the queue after close', () => {
    const kernel = machine();
    const client = new Client(kernel);
    client.process.close(client.fd);
    expect(errno(() => kernel.self.open(NODE))).toBe('EBUSY');
    expect(client.run({}).status).toBe(SUCCESS);
    kernel.self.munmap(client.portal);
    kernel.self.close(kernel.self.open(NODE));
  });
});

describe('stores to the portal (5.1)', () => {
  it('ENQCMD to a full shared queue is retried; the threshold counts', () => {
    const kernel = machine({ workQueues: [{ mode: 'shared', size: 4, threshold: 2 }] }, { clock: 'manual' });
    const client = new Client(kernel, { shared: true });
    const slots = Array.from({ length: 3 }, () => client.encode({}));
    expect(slots.map((slot) => client.store(slot))).toEqual([true, true, false]);
    expect(kernel.self.sysfs.read(`${WQ}/occupancy`)).toBe('2');
    kernel.clock.advance(300);
    expect(client.store(slots[2] ?? 0)).toBe(true);
    kernel.clock.runUntilIdle();
    expect(slots.map((slot) => client.status(slot))).toEqual([SUCCESS, SUCCESS, SUCCESS]);
    expect(kernel.self.sysfs.read(`${WQ}/occupancy`)).toBe('0');
    expect(swerr(kernel.self).valid).toBe(false);
  });

  it('MOVDIR64B to a full dedicated queue is dropped, and SWERR says so', () => {
    const kernel = machine({ workQueues: [{ mode: 'dedicated', size: 2 }] }, { clock: 'manual' });
    const client = new Client(kernel);
    const slots = Array.from({ length: 3 }, () => client.encode({ opcode: DSA_OPCODE.NOOP }));
    expect(slots.map((slot) => client.store(slot))).toEqual([true, true, true]);
    kernel.clock.runUntilIdle();
    expect(slots.map((slot) => client.status(slot))).toEqual([SUCCESS, SUCCESS, 0]);
    expect(swerr(kernel.self)).toMatchObject({
      error: SUBMISSION_ERROR.QUEUE_FULL,
      pasid: kernel.self.pasid(client.fd),
    });
  });

  it.each([
    ['shared', 'movdir64b', true, SUBMISSION_ERROR.WRONG_MODE],
    ['dedicated', 'enqcmd', false, undefined],
  ] as const)('the wrong instruction for a %s queue does nothing', (mode, instruction, accepted, error) => {
    const kernel = machine({ workQueues: [{ mode, size: 4 }] });
    const client = new Client(kernel);
    expect(client.store(client.encode({}), instruction)).toBe(accepted);
    kernel.clock.runUntilIdle();
    expect(client.status(0)).toBe(0);
    expect(swerr(kernel.self)).toMatchObject(error === undefined ? { valid: false } : { error });
  });

  it.each([
    ['shared', false],
    ['dedicated', true],
  ] as const)('an injected full queue: %s', (mode, accepted) => {
    const kernel = machine({ workQueues: [{ mode, size: 4 }] });
    const client = new Client(kernel, { shared: mode === 'shared' });
    kernel.inject('queue-full', 1);
    expect(client.store(client.encode({}))).toBe(accepted);
    kernel.clock.runUntilIdle();
    expect(client.status(0)).toBe(0);
    expect(swerr(kernel.self).valid).toBe(mode === 'dedicated');
    expect(client.run({}).status).toBe(SUCCESS);
  });

  it('the PASID is the file’s, not what the descriptor says', () => {
    const client = new Client(machine());
    expect(client.run({ pasid: 999 }).status).toBe(SUCCESS);
    const queue = new Client(shared(), { shared: true });
    expect(errno(() => queue.submit({ pasid: 1 }))).toBe('EFAULT');
    expect(queue.run({}).status).toBe(SUCCESS);
  });

  it('each process of a shared queue works on its own memory', () => {
    const kernel = shared();
    const clients = [kernel.self, kernel.spawn()].map((process) => new Client(kernel, { process, shared: true }));
    const buffers = clients.map(({ process }) => process.alloc(PAGE));
    for (const [index, client] of clients.entries()) {
      const destination = buffers[index]?.address ?? 0n;
      client.submit({ opcode: DSA_OPCODE.MEMFILL, source: BigInt(index + 1), destination, size: 1 });
    }
    kernel.clock.runUntilIdle();
    expect(buffers.map(({ bytes }) => bytes[0])).toEqual([1, 2]);
    expect(kernel.counters().dmaFaults).toBe(0);
  });
});

/** A client that writes descriptors to its file. */
function writer(options: MockKernelOptions = {}, device: DsaOptions = {}) {
  const kernel = machine(device, options);
  const client = new Client(kernel, { shared: device.workQueues?.[0]?.mode === 'shared' });
  const bytesOf = (...slots: number[]) => Buffer.concat(slots.map((slot) => client.descriptor(slot)));
  const write = (bytes: Uint8Array) => client.process.write(client.fd, bytes);
  return { kernel, client, bytesOf, write };
}

describe('write (4.3)', () => {
  it('takes whole descriptors and ignores the rest', () => {
    const { client, bytesOf, write, kernel } = writer();
    const slots = [client.encode({}), client.encode({})];
    const bytes = bytesOf(...slots);
    expect(write(bytes.subarray(0, 63))).toBe(0);
    expect(write(Buffer.concat([bytes, bytes.subarray(0, 40)]))).toBe(128);
    kernel.clock.runUntilIdle();
    expect(slots.map((slot) => client.status(slot))).toEqual([SUCCESS, SUCCESS]);
  });

  it('is EINVAL on kernels without it', () => {
    const { client, bytesOf, write } = writer({ idxd: { writeSubmission: false } });
    expect(errno(() => write(bytesOf(client.encode({}))))).toBe('EINVAL');
  });

  it('is EPERM for another address space', () => {
    const { client, bytesOf } = writer();
    const bytes = bytesOf(client.encode({}));
    expect(errno(() => client.process.fork().write(client.fd, bytes))).toBe('EPERM');
  });

  it.each([
    ['version-0x100', 0x100, 'EINVAL'],
    ['version-0x100', 0x200, undefined],
    ['every-dsa', 0x200, 'EINVAL'],
  ] as const)('BATCH, refused on %s, on a device of version %i', (batchRefused, version, code) => {
    const { client, bytesOf, write } = writer({ idxd: { batchRefused } }, { version });
    expect(errno(() => write(bytesOf(client.encode({ opcode: DSA_OPCODE.BATCH }))))).toBe(code);
  });

  it('looks at the alignment of the completion address even without CRAV', () => {
    const { client, bytesOf, write } = writer();
    const record = client.recordAddress(0) + 16n;
    expect(errno(() => write(bytesOf(client.encode({ flags: 0, record }))))).toBe('EINVAL');
  });

  it('on IAX wants 64 bytes of alignment, and lets any opcode pass', () => {
    const client = new Client(machine({ type: 'iax' }), { path: '/dev/iax/wq0.0' });
    const { process, fd } = client;
    const misaligned = client.encode({ record: client.recordAddress(0) + 32n });
    expect(errno(() => process.write(fd, client.descriptor(misaligned)))).toBe('EINVAL');
    expect(process.write(fd, client.descriptor(client.encode({ opcode: 1 })))).toBe(64);
  });

  it('stops at the first error with what it has', () => {
    const { client, bytesOf, write, kernel } = writer();
    const good = client.encode({});
    const bad = client.encode({ record: 1n });
    expect(write(bytesOf(good, bad, good))).toBe(64);
    expect(errno(() => write(bytesOf(bad, good)))).toBe('EINVAL');
    kernel.clock.runUntilIdle();
    expect(client.status(good)).toBe(SUCCESS);
  });

  it('a full shared queue is EAGAIN after enqcmds_retries tries', () => {
    const { client, bytesOf, write, kernel } = writer({ clock: 'manual' }, SHARED);
    const slots = Array.from({ length: 6 }, () => client.encode({}));
    expect(write(bytesOf(...slots))).toBe(4 * 64);
    expect(errno(() => write(bytesOf(...slots)))).toBe('EAGAIN');
    kernel.clock.runUntilIdle();
    using full = kernel.inject('queue-full', 33);
    expect(errno(() => write(bytesOf(0)))).toBe('EAGAIN');
    expect(full.hits).toBe(33);
    client.process.sysfs.write(`${WQ}/enqcmds_retries`, '2');
    kernel.inject('queue-full', 2);
    expect(write(bytesOf(0))).toBe(64);
  });

  it('the kernel puts its own PASID into the descriptor', () => {
    const { client, bytesOf, write, kernel } = writer({}, SHARED);
    expect(write(bytesOf(client.encode({ pasid: 5 })))).toBe(64);
    kernel.clock.runUntilIdle();
    expect(client.status(0)).toBe(SUCCESS);
  });

  it('a dedicated queue takes all; what is too much is lost', () => {
    const { client, bytesOf, write, kernel } = writer(
      { clock: 'manual' },
      { workQueues: [{ mode: 'dedicated', size: 1 }] },
    );
    const slots = [client.encode({}), client.encode({})];
    expect(write(bytesOf(...slots))).toBe(128);
    kernel.clock.runUntilIdle();
    expect(slots.map((slot) => client.status(slot))).toEqual([SUCCESS, 0]);
  });

  it('after the queue was disabled the kernel would crash', () => {
    const { client, bytesOf, write, kernel } = writer();
    bind(kernel.self, 'user', 'wq0.0', 'unbind');
    expect(() => write(bytesOf(client.encode({})))).toThrow(KernelBug);
  });
});

describe('poll, ioctl (4.4)', () => {
  it('reports software errors of the device, to all, for ever', () => {
    const kernel = shared();
    const clients = [kernel.self, kernel.spawn()].map((process) => new Client(kernel, { process, shared: true }));
    const poll = () => clients.map(({ process, fd }) => process.poll(fd, POLL.IN | POLL.RDNORM | POLL.OUT));
    expect(poll()).toEqual([0, 0]);
    clients[0]?.run({ opcode: 0x33, flags: DESC_FLAG.FENCE });
    expect(poll()).toEqual([POLL.IN | POLL.RDNORM, POLL.IN | POLL.RDNORM]);
    expect(kernel.self.poll(clients[0]?.fd ?? -1, POLL.OUT)).toBe(0);
    clients[0]?.run({});
    expect(poll()).toEqual([POLL.IN | POLL.RDNORM, POLL.IN | POLL.RDNORM]);
  });

  it('is POLLNVAL for another address space', () => {
    const kernel = shared();
    const fd = kernel.self.open(NODE);
    expect(kernel.self.fork().poll(fd, POLL.IN)).toBe(POLL.NVAL);
  });

  it('knows no ioctl', () => {
    const kernel = machine();
    const fd = kernel.self.open(NODE);
    expect(errno(() => kernel.self.ioctl(fd, 0x5700))).toBe('ENOTTY');
  });
});

describe('release (4.5)', () => {
  it.each(['dedicated', 'shared'] as const)('a %s queue finishes what its client left', (mode) => {
    const kernel = machine({ workQueues: [{ mode, size: 8 }] }, { clock: 'manual' });
    const client = new Client(kernel, { shared: mode === 'shared' });
    const slots = Array.from({ length: 8 }, () => client.submit({}));
    kernel.self.munmap(client.portal);
    expect(client.status(7)).toBe(0);
    kernel.self.close(client.fd);
    expect(slots.map((slot) => client.status(slot))).toEqual(slots.map(() => SUCCESS));
    kernel.self.free(client.ring);
    expect(kernel.counters()).toMatchObject(HELD);
    expect(kernel.self.sysfs.read(`${WQ}/clients`)).toBe('0');
    expect(kernel.self.sysfs.read(`${WQ}/state`)).toBe('enabled');
  });

  it.each(['dedicated', 'shared'] as const)('legacy: a %s queue finishes what came through the file', (mode) => {
    const kernel = machine({ workQueues: [{ mode, size: 8 }] }, { semantics: 'legacy', clock: 'manual' });
    const client = new Client(kernel, { shared: mode === 'shared' });
    const pasid = kernel.self.svm?.bindMm({ path: NODE }, 0, null) ?? 0;
    const slots = Array.from({ length: 4 }, () => client.submit({ pasid }));
    client.process.munmap(client.portal);
    client.process.close(client.fd);
    expect(slots.map((slot) => client.status(slot))).toEqual(slots.map(() => SUCCESS));
    expect(kernel.self.sysfs.read(`${WQ}/clients`)).toBe('0');
  });

  it('legacy: write(2) leaves the PASID to the descriptor', () => {
    const kernel = machine({ workQueues: [{ mode: 'shared', size: 8 }] }, { semantics: 'legacy' });
    const client = new Client(kernel, { shared: true });
    const pasid = kernel.self.svm?.bindMm({ path: NODE }, 0, null) ?? 0;
    kernel.self.write(client.fd, client.descriptor(client.encode({ pasid })));
    kernel.clock.runUntilIdle();
    expect(client.status(0)).toBe(SUCCESS);
  });

  it('closing a shared queue drains the PASID on all queues of the device, and no other', () => {
    const kernel = machine(
      { workQueues: [1, 2].map((group) => ({ mode: 'shared', size: 8, group })) },
      { clock: 'manual' },
    );
    const first = new Client(kernel, { shared: true });
    const second = new Client(kernel, { shared: true, path: '/dev/dsa/wq0.1' });
    const other = new Client(kernel, { shared: true, path: '/dev/dsa/wq0.1', process: kernel.spawn() });
    const slots = [second.submit({}), second.submit({}), other.submit({}), other.submit({})];
    kernel.self.munmap(first.portal);
    kernel.self.close(first.fd);
    expect([second.status(slots[0] ?? 0), second.status(slots[1] ?? 0)]).toEqual([SUCCESS, SUCCESS]);
    expect(other.status(slots[3] ?? 0)).toBe(0);
  });

  it.each(['legacy', 'modern'] as const)('%s: a lost page request does not hold up close for ever', (semantics) => {
    const device: DsaOptions = { workQueues: [{ mode: 'shared', size: 8, blockOnFault: true }] };
    const kernel = machine(device, { semantics, svm: { pageRequestOverflow: 'fatal' } });
    const client = new Client(kernel, { shared: true });
    const pasid = kernel.self.svm?.bindMm({ path: NODE }, 0, null) ?? 0;
    const memory = kernel.self.alloc(PAGE, { populate: false });
    kernel.inject('page-request-overflow', 1);
    const flags = RECORDED | DESC_FLAG.BOF;
    const slot = client.submit({ opcode: DSA_OPCODE.MEMFILL, flags, destination: memory.address, size: 8, pasid });
    client.submit({ pasid });
    kernel.clock.runUntilIdle();
    kernel.self.munmap(client.portal);
    kernel.self.close(client.fd);
    expect(client.status(slot)).toBe(0);
    expect(kernel.counters()).toMatchObject({ openFiles: 0, lostPageRequests: 1 });
    expect(kernel.self.sysfs.read(`${WQ}/occupancy`)).toBe('0');
    // The engine is free again.
    const next = new Client(kernel, { shared: true });
    expect(next.run({ pasid }).status).toBe(SUCCESS);
  });

  it('a response that comes after the descriptor was dropped reaches nobody else', () => {
    const device: DsaOptions = { workQueues: [{ mode: 'dedicated', size: 8, blockOnFault: true }] };
    const kernel = machine(device, { clock: 'manual' });
    const client = new Client(kernel);
    const memory = kernel.self.alloc(PAGE, { populate: false });
    const fields = { opcode: DSA_OPCODE.MEMFILL, flags: RECORDED | DESC_FLAG.BOF, size: 8 };
    const dropped = client.submit({ ...fields, destination: memory.address });
    kernel.clock.advance(1000);
    const [device0] = kernel.hardware;
    if (device0 !== undefined && 'abort' in device0) device0.abort(() => true);
    const next = client.submit({});
    // Its own time is not over when the response to the other arrives.
    kernel.clock.advance(299);
    expect([client.status(dropped), client.status(next)]).toEqual([0, 0]);
    kernel.clock.runUntilIdle();
    expect([client.status(dropped), client.status(next)]).toEqual([0, SUCCESS]);
  });

  it.each(['dedicated', 'shared'] as const)(
    'exit with work in flight: its memory is out of reach first (%s)',
    (mode) => {
      const kernel = machine({ workQueues: [{ mode, size: 8 }] }, { clock: 'manual' });
      const process = kernel.spawn();
      const client = new Client(kernel, { process, shared: mode === 'shared' });
      const pasid = process.pasid(client.fd);
      for (let n = 0; n < 4; n += 1) client.submit({});
      process.exit();
      expect(kernel.counters()).toMatchObject({ ...HELD, pasids: 0 });
      kernel.clock.runUntilIdle();
      expect(kernel.dmaFaults).toHaveLength(4);
      expect(swerr(kernel.self)).toMatchObject({ error: COMP_STATUS.CRA_XLAT, pasid });
      const next = new Client(kernel, { shared: mode === 'shared' });
      expect(next.run({}).status).toBe(SUCCESS);
    },
  );

  it('exec leaves the queue to the next', () => {
    const kernel = machine();
    const process = kernel.spawn();
    new Client(kernel, { process }).submit({});
    process.exec();
    expect(kernel.counters()).toMatchObject({ ...HELD, pasids: 0 });
    expect(new Client(kernel).run({}).status).toBe(SUCCESS);
  });

  it('closing the first of two files takes the PASID out of the registry; the second still works', () => {
    const kernel = shared();
    const first = kernel.self.open(NODE);
    const client = new Client(kernel, { shared: true });
    kernel.self.close(first);
    expect(kernel.counters().bindings).toBe(1);
    expect(client.run({}).status).toBe(SUCCESS);
  });

  it('a failed command leaves the PASID in the queue, but not the client', () => {
    const kernel = machine();
    const fd = kernel.self.open(NODE);
    kernel.inject('command-failure', 1);
    kernel.self.close(fd);
    expect(kernel.self.sysfs.read(`${DSA}/cmd_status`)).toBe('0x3');
    expect(kernel.counters()).toMatchObject(HELD);
    expect(errno(() => kernel.self.open(NODE))).toBeUndefined();
  });
});

describe('the event log (5.6)', () => {
  const evl: DsaOptions = { version: 0x200, evlSupport: 1, workQueues: [{ mode: 'shared', size: 8 }] };

  /** A record on a page that the process has but that is not present. */
  function faultingRecord(options: MockKernelOptions = {}) {
    const kernel = machine(evl, options);
    const client = new Client(kernel, { shared: true });
    const memory = kernel.self.alloc(PAGE, { populate: false });
    const counter = (name: string) => kernel.self.sysfs.read(`/sys/bus/dsa/devices/file0/${name}`);
    return { kernel, client, memory, counter };
  }

  it('the kernel writes a record whose page was not there', () => {
    const { client, memory, counter, kernel } = faultingRecord();
    client.run({ opcode: 0x33, record: memory.address });
    expect(memory.bytes[0]).toBe(COMP_STATUS.BAD_OPCODE);
    expect([counter('cr_faults'), counter('cr_fault_failures')]).toEqual(['1', '0']);
    expect(swerr(kernel.self).valid).toBe(false);
  });

  it('and counts where it cannot', () => {
    const { client, counter } = faultingRecord();
    client.run({ record: 0x4000n });
    expect([counter('cr_faults'), counter('cr_fault_failures')]).toEqual(['0', '1']);
  });

  it('other errors are only logged', () => {
    const { client, kernel } = faultingRecord();
    client.run({ opcode: 0x33, flags: 0 });
    expect(swerr(kernel.self).valid).toBe(false);
  });

  it('a full log leaves SWERR', () => {
    const kernel = machine({ ...evl, latency: 0, workQueues: [{ mode: 'shared', size: 128 }] }, { clock: 'manual' });
    const client = new Client(kernel, { shared: true });
    for (let n = 0; n < 64; n += 1) client.submit({ opcode: 0x33, flags: 0 });
    kernel.clock.runUntilIdle();
    expect(swerr(kernel.self)).toMatchObject({ valid: true, overflow: false, operation: 0x33 });
  });

  it('closing forgets the entries of the file', () => {
    const { client, memory, kernel } = faultingRecord({ clock: 'manual' });
    client.submit({ record: memory.address });
    kernel.clock.advance(300);
    kernel.self.munmap(client.portal);
    kernel.self.close(client.fd);
    kernel.clock.runUntilIdle();
    expect(memory.bytes[0]).toBe(0);
  });

  it('a kernel that does not use it has SWERR', () => {
    const { client, memory, kernel } = faultingRecord({ idxd: { eventLog: false } });
    client.run({ record: memory.address });
    expect(memory.bytes[0]).toBe(0);
    expect(swerr(kernel.self).error).toBe(COMP_STATUS.CRA_XLAT);
  });
});
