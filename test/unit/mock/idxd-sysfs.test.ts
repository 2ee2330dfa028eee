import { describe, expect, it } from 'vitest';
import type { MockKernel, MockKernelOptions } from 'intel-svm/mock';
import { BDF, Client, DSA, WQ, bind, errno, machine, unbound, type DsaOptions } from './idxd-tools.js';

const PCI = `/sys/devices/pci0000:6a/${BDF}`;
const GROUP = '/sys/bus/dsa/devices/group0.0';
const ENGINE = '/sys/bus/dsa/devices/engine0.0';
const ZERO_MASK = Array(8).fill('0'.repeat(8)).join(',');

const read = (kernel: MockKernel, path: string): string => kernel.self.sysfs.read(path);
/** What an attribute reads after a store: the text where it was taken, as before where it was refused. */
function store(kernel: MockKernel, path: string, text: string) {
  const before = read(kernel, path);
  const code = write(kernel, path, text);
  return { code, reads: read(kernel, path), expected: code === undefined ? text : before };
}
const write = (kernel: MockKernel, path: string, text: string): string | undefined =>
  errno(() => kernel.self.sysfs.write(path, text));

/** Attributes of the first work queue. */
const list = (kernel: MockKernel): string[] =>
  kernel.self.sysfs.list(WQ).filter((name) => !name.includes('!') && name !== 'driver');

describe('the tree', () => {
  it('hangs below the PCI device, with links from the buses', () => {
    const { sysfs } = machine().self;
    expect(sysfs.realpath(DSA)).toBe(`${PCI}/dsa0`);
    expect(sysfs.realpath(WQ)).toBe(`${PCI}/dsa0/wq0.0`);
    expect(sysfs.realpath(ENGINE)).toBe(`${PCI}/dsa0/engine0.0`);
    expect(sysfs.realpath(GROUP)).toBe(`${PCI}/dsa0/group0.0`);
    expect(sysfs.realpath('/sys/bus/dsa/devices/dsa!wq0.0')).toBe(`${PCI}/dsa0/wq0.0/dsa!wq0.0`);
    expect(sysfs.realpath(`/sys/bus/pci/devices/${BDF}`)).toBe(PCI);
    expect(sysfs.realpath(`${WQ}/driver`)).toBe('/sys/bus/dsa/drivers/user');
    expect(sysfs.realpath(`${DSA}/driver`)).toBe('/sys/bus/dsa/drivers/idxd');
    expect(sysfs.list('/sys/bus/dsa/drivers/user')).toEqual(['bind', 'unbind', 'wq0.0']);
  });

  it('lists what is not in use as well', () => {
    const { sysfs } = machine({ maxWorkQueues: 2, maxEngines: 3, maxGroups: 1 }).self;
    expect(sysfs.list('/sys/bus/dsa/devices')).toEqual([
      'dsa!wq0.0',
      'dsa0',
      'engine0.0',
      'engine0.1',
      'engine0.2',
      'group0.0',
      'wq0.0',
      'wq0.1',
    ]);
  });

  it('numbers DSA and IAX together, and character devices apart', () => {
    const kernel = machine({}, {});
    expect(read(kernel, `${PCI}/vendor`)).toBe('0x8086');
    expect(read(kernel, `${PCI}/device`)).toBe('0x0b25');
    const iax = machine({ type: 'iax', numaNode: 1, workQueues: [{ mode: 'dedicated', size: 4 }] });
    expect(read(iax, `${PCI}/device`)).toBe('0x0cfe');
    expect(read(iax, '/sys/bus/dsa/devices/iax0/numa_node')).toBe('1');
    expect(iax.self.devices().map(({ path }) => path)).toEqual(['/dev/iax/wq0.0']);
  });

  it('of a machine whose CPU has no MOVDIR64B has the PCI device alone: the driver does not load', () => {
    const { sysfs } = machine({}, { cpu: { movdir64b: false } }).self;
    expect(errno(() => sysfs.list('/sys/bus/dsa'))).toBe('ENOENT');
    expect(errno(() => sysfs.list('/sys/module/idxd'))).toBe('ENOENT');
    expect(sysfs.list('/sys/bus/pci/devices')).toEqual([BDF]);
  });

  it('is read by everybody and written by root', () => {
    const kernel = unbound();
    const user = kernel.spawn({ uid: 1000 });
    expect(user.sysfs.read(`${DSA}/errors`)).toBe(ZERO_MASK);
    expect(errno(() => user.sysfs.write(`${WQ}/size`, '4'))).toBe('EACCES');
    expect(errno(() => user.sysfs.write('/sys/bus/dsa/drivers/idxd/bind', 'dsa0'))).toBe('EACCES');
    expect(errno(() => kernel.self.sysfs.read('/sys/bus/dsa/drivers/idxd/bind'))).toBe('EACCES');
    expect(write(kernel, `${DSA}/state`, 'enabled')).toBe('EACCES');
  });
});

describe('attributes of a device', () => {
  const formats: [string, string, DsaOptions?, MockKernelOptions?][] = [
    ['version', '0x100'],
    ['version', '0x300', { version: 0x300 }],
    ['max_groups', '4'],
    ['max_work_queues', '8'],
    ['max_work_queues_size', '128'],
    ['max_engines', '4'],
    ['max_batch_size', '1024'],
    ['max_transfer_size', '2147483648'],
    ['max_read_buffers', '96'],
    ['max_tokens', '96'],
    ['read_buffer_limit', '0'],
    ['token_limit', '0'],
    ['numa_node', '-1'],
    ['numa_node', '2', { numaNode: 2 }],
    ['op_cap', `${ZERO_MASK.slice(0, -8)}00010039`],
    ['op_cap', `${ZERO_MASK.slice(0, -8)}00000008`, { operations: [3, 0x55] }],
    ['gen_cap', '0x815f031f'],
    ['gen_cap', '0x815f231f', { version: 0x200, evlSupport: 1 }],
    ['configurable', '1'],
    ['configurable', '0', { configurable: false }],
    ['pasid_enabled', '1'],
    ['pasid_enabled', '0', {}, { idxd: { sva: false } }],
    ['pasid_enabled', '0', {}, { config: { intelIommuSvm: false } }],
    ['pasid_enabled', '1', { pri: false }],
    ['pasid_enabled', '0', { pri: false }, { idxd: { pasidEnabledAt: 'probe' } }],
    ['pasid_enabled', '1', {}, { idxd: { pasidEnabledAt: 'probe' }, svm: { svaOnX86: false } }],
    ['state', 'enabled'],
    ['state', 'disabled', { enabled: false }],
    ['errors', ZERO_MASK],
    ['clients', '0'],
    ['cdev_major', '243'],
    ['cmd_status', '0x0'],
    ['event_log_size', '64', { version: 0x200, evlSupport: 1 }],
    ['dsacaps', '0000000000000000,0000000000000000,0000000000000000', { version: 0x300 }],
  ];
  it.each(formats)('%s reads %s', (name, text, device = {}, options = {}) => {
    expect(read(machine(device, options), `${DSA}/${name}`)).toBe(text);
  });

  it.each([
    [
      'an IAX',
      { type: 'iax' },
      [
        'max_batch_size',
        'max_read_buffers',
        'max_tokens',
        'read_buffer_limit',
        'token_limit',
        'iaa_cap',
        'event_log_size',
        'dsacaps',
      ],
    ],
    ['a DSA 1.0', {}, ['event_log_size', 'dsacaps', 'iaa_cap']],
    ['a DSA 2.0 without event log', { version: 0x200 }, ['event_log_size', 'dsacaps', 'iaa_cap']],
  ] as const)('%s does not have what it cannot', (_, device, absent) => {
    const { sysfs } = machine(device).self;
    const name = sysfs.list('/sys/bus/dsa/devices').find((entry) => /^(dsa|iax)\d$/.test(entry));
    const names = sysfs.list(`/sys/bus/dsa/devices/${name}`);
    expect(absent.filter((attribute) => names.includes(attribute))).toEqual([]);
  });

  it('an IAX of version 2 tells its capabilities', () => {
    const kernel = machine({ type: 'iax', version: 0x200 });
    expect(read(kernel, '/sys/bus/dsa/devices/iax0/iaa_cap')).toBe('0x0');
    expect(read(kernel, '/sys/bus/dsa/devices/iax0/cdev_major')).toBe('242');
  });

  it('cmd_status is cleared by any write', () => {
    const kernel = machine();
    expect(bind(kernel.self, 'idxd', 'dsa0', 'unbind')).toBeUndefined();
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBe('ENXIO');
    expect(read(kernel, `${DSA}/cmd_status`)).toBe('0x800d0000');
    write(kernel, `${DSA}/cmd_status`, 'whatever');
    expect(read(kernel, `${DSA}/cmd_status`)).toBe('0x0');
  });

  it.each([
    ['read_buffer_limit', 'x', 'EINVAL'],
    ['read_buffer_limit', '97', 'EINVAL'],
    ['token_limit', '96', undefined],
    ['event_log_size', '63', 'EINVAL'],
    ['event_log_size', '65536', 'EINVAL'],
    ['event_log_size', '100', undefined],
  ])('%s = %s: %s', (name, text, code) => {
    const kernel = unbound({ version: 0x200, evlSupport: 1 });
    const stored = store(kernel, `${DSA}/${name}`, text);
    expect([stored.code, stored.reads]).toEqual([code, stored.expected]);
    bind(kernel.self, 'idxd', 'dsa0');
    expect(write(kernel, `${DSA}/${name}`, '96')).toBe('EPERM');
  });
});

describe('attributes of a work queue', () => {
  const names = [
    'ats_disable',
    'block_on_fault',
    'cdev_minor',
    'clients',
    'driver_name',
    'enqcmds_retries',
    'group_id',
    'max_batch_size',
    'max_transfer_size',
    'mode',
    'name',
    'occupancy',
    'priority',
    'size',
    'state',
    'threshold',
    'type',
  ];
  it.each([
    ['DSA 1.0', {}, names],
    ['DSA 2.0', { version: 0x200 }, [...names, 'op_config', 'prs_disable']],
    ['DSA 2.0 without PRI', { version: 0x200, pri: false }, [...names, 'op_config']],
    ['DSA without ATS', { ats: false }, names.filter((name) => name !== 'ats_disable')],
    ['IAX', { type: 'iax' }, names.filter((name) => name !== 'max_batch_size')],
  ] as const)('%s', (_, device, expected) => {
    expect(list(machine(device))).toEqual([...expected].toSorted());
  });

  it('driver_name came with v6.7', () => {
    expect(list(machine({}, { idxd: { driverName: false } }))).not.toContain('driver_name');
  });

  it.each([
    ['mode', 'shared'],
    ['size', '0'],
    ['priority', '0'],
    ['threshold', '0'],
    ['group_id', '-1'],
    ['type', 'none'],
    ['name', ''],
    ['driver_name', ''],
    ['block_on_fault', '0'],
    ['max_transfer_size', '2097152'],
    ['max_batch_size', '32'],
    ['state', 'disabled'],
    ['clients', '0'],
    ['occupancy', '0'],
    ['enqcmds_retries', '32'],
    ['ats_disable', '0'],
    ['prs_disable', '0'],
    ['op_config', `${ZERO_MASK.slice(0, -8)}00010039`],
  ])('%s of one that nobody configured reads "%s"', (name, text) => {
    expect(read(machine({ version: 0x200 }), `/sys/bus/dsa/devices/wq0.1/${name}`)).toBe(text);
  });

  it('reads what the options configured', () => {
    const kernel = machine({
      workQueues: [
        {
          mode: 'shared',
          size: 9,
          threshold: 7,
          priority: 3,
          blockOnFault: true,
          maxTransferSize: 5000,
          maxBatchSize: 33,
          name: 'mine',
          group: 2,
        },
      ],
    });
    const text = (name: string): string => read(kernel, `${WQ}/${name}`);
    expect(
      ['mode', 'size', 'threshold', 'priority', 'block_on_fault', 'name', 'group_id', 'type', 'driver_name'].map(text),
    ).toEqual(['shared', '9', '7', '3', '1', 'mine', '2', 'user', 'user']);
    // Rounded up to powers of two.
    expect(['max_transfer_size', 'max_batch_size', 'cdev_minor', 'state'].map(text)).toEqual([
      '8192',
      '64',
      '0',
      'enabled',
    ]);
    expect(read(kernel, '/sys/bus/dsa/devices/group0.2/work_queues')).toBe('wq0.0');
    expect(read(kernel, '/sys/bus/dsa/devices/group0.2/engines')).toBe('engine0.0');
  });

  // Written to a queue that is disabled, on a disabled device: mode dedicated, size 16.
  const stores: [string, string, string | undefined, (string | undefined)?, DsaOptions?][] = [
    ['group_id', '3', undefined],
    ['group_id', '-1', undefined],
    ['group_id', '4', 'EINVAL'],
    ['group_id', '-2', 'EINVAL'],
    ['group_id', '0x1', 'EINVAL'],
    ['group_id', '', 'EINVAL'],
    ['mode', 'shared', undefined],
    ['mode', 'Shared', 'EINVAL'],
    ['size', '128', undefined],
    ['size', '129', 'EINVAL'],
    ['size', '-1', 'EINVAL'],
    ['size', '1 ', 'EINVAL'],
    ['priority', '15', undefined],
    ['priority', '16', 'EINVAL'],
    ['threshold', '1', 'EINVAL'], // dedicated
    ['block_on_fault', 'y', undefined, '1'],
    ['block_on_fault', 'off', undefined, '0'],
    ['block_on_fault', 'maybe', 'EINVAL'],
    ['block_on_fault', '1', 'EOPNOTSUPP', undefined, { blockOnFault: false }],
    ['type', 'kernel', undefined],
    ['type', 'mdev', 'EINVAL'],
    ['name', ' spaced  ', undefined, 'spaced'],
    ['name', '', 'EINVAL'],
    ['name', 'n'.repeat(1025), 'EINVAL'],
    ['name', 'n'.repeat(1024), undefined],
    ['driver_name', 'user', undefined],
    ['driver_name', '', 'EINVAL'],
    ['driver_name', 'd'.repeat(129), 'EINVAL'],
    ['max_transfer_size', '5000', undefined, '8192'],
    ['max_transfer_size', '0x1000', undefined, '4096'],
    ['max_transfer_size', '010', undefined, '8'],
    ['max_transfer_size', '0', 'EINVAL'],
    ['max_transfer_size', '2147483649', 'EINVAL'],
    ['max_transfer_size', 'big', 'EINVAL'],
    ['max_batch_size', '1024', undefined],
    ['max_batch_size', '1025', 'EINVAL'],
    ['max_batch_size', '0', 'EINVAL'],
    ['ats_disable', '1', undefined],
    ['ats_disable', '2', 'EINVAL'],
    ['prs_disable', '1', undefined],
    ['enqcmds_retries', '5', 'EOPNOTSUPP'], // dedicated
    ['op_config', '9', undefined, `${ZERO_MASK.slice(0, -1)}9`],
    ['op_config', '2', 'EINVAL'],
    ['op_config', 'nonsense', 'EINVAL'],
    ['op_config', '00000001,00000000', 'EINVAL'],
  ];
  it.each(stores)('%s = "%s": %s', (name, text, code, shows = text, device = {}) => {
    const kernel = unbound({ version: 0x200, ...device });
    const before = errno(() => read(kernel, `${WQ}/${name}`)) ?? read(kernel, `${WQ}/${name}`);
    expect(write(kernel, `${WQ}/${name}`, text)).toBe(code);
    const after = errno(() => read(kernel, `${WQ}/${name}`)) ?? read(kernel, `${WQ}/${name}`);
    expect(after).toBe(code === undefined ? shows : before);
  });

  it.each([
    ['1', undefined, '1'],
    ['0x10', undefined, '16'],
    ['020', undefined, '16'],
    ['0', 'EINVAL', '16'],
    ['17', 'EINVAL', '16'],
    ['-1', 'EINVAL', '16'],
  ])('threshold of a shared queue of 16 = %s: %s', (text, code, shows) => {
    const kernel = unbound({ workQueues: [{ mode: 'shared', size: 16 }] });
    expect(write(kernel, `${WQ}/threshold`, text)).toBe(code);
    expect(read(kernel, `${WQ}/threshold`)).toBe(shows);
  });

  it.each([
    ['group_id', '0', 'EPERM'],
    ['mode', 'shared', 'EPERM'],
    ['size', '4', 'EPERM'],
    ['priority', '1', 'EPERM'],
    ['threshold', '1', 'ENXIO'],
    ['block_on_fault', '1', 'ENXIO'],
    ['type', 'none', 'EPERM'],
    ['name', 'x', 'EPERM'],
    ['driver_name', 'x', 'EPERM'],
    ['max_transfer_size', '64', 'EPERM'],
    ['max_batch_size', '1', 'EPERM'],
    ['ats_disable', '1', 'EPERM'],
    ['prs_disable', '1', 'EPERM'],
    ['op_config', '1', 'EPERM'],
    ['enqcmds_retries', '-1', 'EINVAL'],
    ['clients', '0', 'EACCES'],
  ])('%s of an enabled queue: %s answers %s', (name, text, code) => {
    const kernel = machine({ version: 0x200, workQueues: [{ mode: 'shared', size: 16 }] });
    expect(write(kernel, `${WQ}/${name}`, text)).toBe(code);
  });

  it('enqcmds_retries may change while the queue is enabled, up to 64', () => {
    const kernel = machine({ workQueues: [{ mode: 'shared', size: 16 }] });
    expect(store(kernel, `${WQ}/enqcmds_retries`, '5').reads).toBe('5');
    expect(store(kernel, `${WQ}/enqcmds_retries`, '100').reads).toBe('64');
    expect(store(kernel, `${WQ}/enqcmds_retries`, '-1').reads).toBe('64');
  });

  it('sizes of all queues together fit the device', () => {
    const kernel = unbound({ workQueues: [{ mode: 'dedicated', size: 100 }] });
    expect(write(kernel, '/sys/bus/dsa/devices/wq0.1/size', '29')).toBe('EINVAL');
    expect(write(kernel, '/sys/bus/dsa/devices/wq0.1/size', '28')).toBeUndefined();
    expect(write(kernel, `${WQ}/size`, '101')).toBe('EINVAL');
  });

  it('size asks for the device, not the queue, to be disabled', () => {
    const kernel = machine({ workQueues: [{ mode: 'dedicated', size: 4, enabled: false }] });
    expect(read(kernel, `${WQ}/state`)).toBe('disabled');
    expect(write(kernel, `${WQ}/size`, '4')).toBe('EPERM');
    expect(write(kernel, `${WQ}/priority`, '4')).toBeUndefined();
  });

  it('attributes have effects on each other', () => {
    const kernel = unbound({ version: 0x200, workQueues: [{ mode: 'shared', size: 16, blockOnFault: true }] });
    const text = (name: string): string => read(kernel, `${WQ}/${name}`);
    write(kernel, `${WQ}/prs_disable`, '1');
    expect(text('block_on_fault')).toBe('0');
    expect(write(kernel, `${WQ}/block_on_fault`, '1')).toBe('EOPNOTSUPP');
    expect(write(kernel, `${WQ}/block_on_fault`, '0')).toBeUndefined();
    write(kernel, `${WQ}/mode`, 'dedicated');
    expect(text('threshold')).toBe('0');
    expect(errno(() => text('enqcmds_retries'))).toBe('EOPNOTSUPP');
    write(kernel, `${WQ}/type`, 'user');
    expect(text('name')).toBe('app0');
    write(kernel, `${WQ}/type`, 'kernel');
    expect(text('name')).toBe('');
  });

  it('a device that is not configurable refuses', () => {
    const kernel = machine({ configurable: false });
    bind(kernel.self, 'idxd', 'dsa0', 'unbind');
    const texts = {
      group_id: '0',
      mode: 'shared',
      size: '1',
      priority: '1',
      max_transfer_size: '64',
      block_on_fault: '1',
    };
    for (const [name, text] of Object.entries(texts)) expect(write(kernel, `${WQ}/${name}`, text)).toBe('EPERM');
    expect(write(kernel, `${WQ}/ats_disable`, '1')).toBe('EPERM');
    expect(write(kernel, `${ENGINE}/group_id`, '0')).toBe('EPERM');
    expect(write(kernel, `${DSA}/read_buffer_limit`, '0')).toBe('EPERM');
    expect(write(kernel, `${GROUP}/read_buffers_reserved`, '0')).toBe('EPERM');
  });

  it('cdev_minor is there with the node, and the lowest that is free', () => {
    const kernel = machine({ workQueues: [1, 2].map(() => ({ mode: 'dedicated', size: 4 })) });
    const second = '/sys/bus/dsa/devices/wq0.1';
    expect([read(kernel, `${WQ}/cdev_minor`), read(kernel, `${second}/cdev_minor`)]).toEqual(['0', '1']);
    expect(read(kernel, `${second}/dsa!wq0.1/dev`)).toBe('243:1');
    bind(kernel.self, 'user', 'wq0.0', 'unbind');
    expect(errno(() => read(kernel, `${WQ}/cdev_minor`))).toBe('ENXIO');
  });

  it('counts clients', () => {
    const kernel = machine();
    const client = new Client(kernel);
    expect([read(kernel, `${WQ}/clients`), read(kernel, `${DSA}/clients`)]).toEqual(['1', '1']);
    client.close();
    expect([read(kernel, `${WQ}/clients`), read(kernel, `${DSA}/clients`)]).toEqual(['0', '0']);
  });
});

describe('attributes of groups and engines', () => {
  const tokens = ['tokens_allowed', 'tokens_reserved', 'use_token_limit'];
  const readBuffers = ['read_buffers_allowed', 'read_buffers_reserved', 'use_read_buffer_limit'];
  const always = ['engines', 'traffic_class_a', 'traffic_class_b', 'work_queues'];
  it.each([
    ['DSA 1.0', {}, [...always, ...tokens, ...readBuffers]],
    [
      'DSA 2.0',
      { version: 0x200 },
      [...always, ...tokens, ...readBuffers, 'batch_progress_limit', 'desc_progress_limit'],
    ],
    ['IAX', { type: 'iax' }, always],
  ] as const)('a group of %s', (_, device, expected) => {
    expect(machine(device).self.sysfs.list(GROUP)).toEqual([...expected].toSorted());
  });

  it('lists its members, separated by blanks', () => {
    const kernel = machine({ workQueues: [1, 2].map(() => ({ mode: 'dedicated', size: 4 })) });
    write(kernel, '/sys/bus/dsa/devices/engine0.2/group_id', '0');
    expect(read(kernel, `${GROUP}/work_queues`)).toBe('wq0.0 wq0.1');
    expect(read(kernel, `${GROUP}/engines`)).toBe('engine0.0 engine0.2');
    expect(read(kernel, '/sys/bus/dsa/devices/group0.1/work_queues')).toBe('');
  });

  it.each([
    ['read_buffers_reserved', '97', 'EINVAL'],
    ['read_buffers_reserved', '96', undefined],
    ['tokens_reserved', '-1', 'EINVAL'],
    ['read_buffers_allowed', '3', 'EINVAL'], // four for each engine
    ['read_buffers_allowed', '4', undefined],
    ['tokens_allowed', '97', 'EINVAL'],
    ['use_read_buffer_limit', '1', 'EPERM'], // read_buffer_limit is 0
    ['use_token_limit', 'x', 'EINVAL'],
    ['traffic_class_a', '0', 'EPERM'],
    ['desc_progress_limit', '3', undefined],
    ['batch_progress_limit', '4', 'EINVAL'],
  ])('%s = %s: %s', (name, text, code) => {
    const kernel = unbound({ version: 0x200 });
    const stored = store(kernel, `${GROUP}/${name}`, text);
    expect([stored.code, stored.reads]).toEqual([code, stored.expected]);
  });

  it('reserved read buffers are taken from the others', () => {
    const kernel = unbound();
    expect(write(kernel, `${GROUP}/read_buffers_reserved`, '90')).toBeUndefined();
    expect(write(kernel, '/sys/bus/dsa/devices/group0.1/read_buffers_reserved', '7')).toBe('EINVAL');
    expect(write(kernel, '/sys/bus/dsa/devices/group0.1/read_buffers_allowed', '7')).toBe('EINVAL');
    expect(write(kernel, `${GROUP}/read_buffers_reserved`, '96')).toBeUndefined();
    write(kernel, `${DSA}/read_buffer_limit`, '5');
    expect(write(kernel, `${GROUP}/use_read_buffer_limit`, '7')).toBeUndefined();
    expect(read(kernel, `${GROUP}/use_token_limit`)).toBe('1');
  });

  it('read buffers and traffic classes are fixed while the device is enabled', () => {
    const kernel = machine({ version: 0x300 });
    for (const name of ['read_buffers_reserved', 'read_buffers_allowed', 'use_read_buffer_limit', 'traffic_class_b']) {
      expect(write(kernel, `${GROUP}/${name}`, '4')).toBe('EPERM');
    }
  });

  it('traffic classes are free on version 3, or with the module parameter', () => {
    const kernel = unbound({ version: 0x300 });
    expect([read(kernel, `${GROUP}/traffic_class_a`), read(kernel, `${GROUP}/traffic_class_b`)]).toEqual(['-1', '-1']);
    expect(write(kernel, `${GROUP}/traffic_class_a`, '7')).toBeUndefined();
    expect(write(kernel, `${GROUP}/traffic_class_a`, '8')).toBe('EINVAL');
    bind(kernel.self, 'idxd', 'dsa0');
    expect([read(kernel, `${GROUP}/traffic_class_a`), read(kernel, `${GROUP}/traffic_class_b`)]).toEqual(['7', '1']);

    const old = unbound();
    expect(read(old, `${GROUP}/traffic_class_a`)).toBe('1');
    expect(read(old, '/sys/module/idxd/parameters/tc_override')).toBe('N');
    expect(write(old, '/sys/module/idxd/parameters/tc_override', '1')).toBeUndefined();
    expect(write(old, `${GROUP}/traffic_class_a`, '0')).toBeUndefined();
  });

  it.each([
    ['1', undefined],
    ['-1', undefined],
    ['4', 'EINVAL'],
    ['x', 'EINVAL'],
  ])('group_id of an engine = %s: %s', (text, code) => {
    const kernel = unbound();
    const stored = store(kernel, `${ENGINE}/group_id`, text);
    expect([stored.code, stored.reads]).toEqual([code, stored.expected]);
  });
});

describe('module parameters', () => {
  it('sva is shown, and a change does not touch devices that are there', () => {
    const kernel = machine();
    const parameter = '/sys/module/idxd/parameters/sva';
    expect(read(kernel, parameter)).toBe('Y');
    expect(write(kernel, parameter, 'n')).toBeUndefined();
    expect([read(kernel, parameter), read(kernel, `${DSA}/pasid_enabled`)]).toEqual(['N', '1']);
    expect(write(kernel, parameter, '?')).toBe('EINVAL');
    expect(read(machine({}, { idxd: { sva: false } }), parameter)).toBe('N');
  });
});
