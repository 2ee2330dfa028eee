import { describe, expect, it } from 'vitest';
import { CMD_STATUS, type CmdStatusSymbol } from '../../../lib/abi/cmd-status.js';
import { createMockKernel, type MockKernel, type MockKernelOptions, type WorkQueueOptions } from 'intel-svm/mock';
import { BDF, Client, DSA, WQ, bind, errno, machine, unbound, type DsaOptions } from './idxd-tools.js';

const cmdStatus = (kernel: MockKernel): number => Number(kernel.self.sysfs.read(`${DSA}/cmd_status`));
const state = (kernel: MockKernel, path = WQ): string => kernel.self.sysfs.read(`${path}/state`);
const write = (kernel: MockKernel, attributes: Readonly<Record<string, string>>): void => {
  for (const [name, text] of Object.entries(attributes)) kernel.self.sysfs.write(`${WQ}/${name}`, text);
};
const queue = (options: Partial<WorkQueueOptions> = {}): DsaOptions => ({
  workQueues: [{ mode: 'dedicated', size: 16, ...options }],
});

describe('by hand (kernel-facts 4.8)', () => {
  it('from nothing to a node and back', () => {
    const kernel = machine({ workQueues: [] });
    const { sysfs } = kernel.self;
    expect([state(kernel, DSA), cmdStatus(kernel)]).toEqual(['disabled', 0]);
    sysfs.write('/sys/bus/dsa/devices/engine0.0/group_id', '0');
    write(kernel, {
      mode: 'shared',
      group_id: '0',
      size: '8',
      priority: '5',
      threshold: '6',
      type: 'user',
      name: 'hand',
    });
    write(kernel, { driver_name: 'user' });
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBeUndefined();
    expect(errno(() => kernel.self.open('/dev/dsa/wq0.0'))).toBe('ENOENT');
    expect(bind(kernel.self, 'user', 'wq0.0')).toBeUndefined();
    expect([state(kernel, DSA), state(kernel)]).toEqual(['enabled', 'enabled']);
    new Client(kernel, { shared: true }).close();

    expect(bind(kernel.self, 'user', 'wq0.0', 'unbind')).toBeUndefined();
    expect(errno(() => kernel.self.open('/dev/dsa/wq0.0'))).toBe('ENOENT');
    expect(sysfs.list(sysfs.realpath(WQ))).not.toContain('dsa!wq0.0');
    const text = (name: string): string => sysfs.read(`${WQ}/${name}`);
    expect(['mode', 'type', 'threshold', 'priority', 'name'].map(text)).toEqual(['shared', 'none', '0', '0', '']);
    expect(['group_id', 'size', 'driver_name'].map(text)).toEqual(['0', '8', 'user']);

    expect(bind(kernel.self, 'idxd', 'dsa0', 'unbind')).toBeUndefined();
    expect(['group_id', 'size', 'driver_name'].map(text)).toEqual(['-1', '0', 'user']);
    expect(sysfs.read('/sys/bus/dsa/devices/engine0.0/group_id')).toBe('-1');
    expect(state(kernel, DSA)).toBe('disabled');
  });

  it.each([
    ['idxd', 'dsa1'],
    ['idxd', 'wq0.0'],
    ['idxd', 'engine0.0'],
    ['user', 'dsa0'],
    ['user', 'wq9.9'],
    ['user', 'dsa!wq0.0'],
    ['user', ''],
  ] as const)('drivers/%s does not take "%s": ENODEV', (driver, name) => {
    const kernel = machine();
    expect(bind(kernel.self, driver, name)).toBe('ENODEV');
    expect(bind(kernel.self, driver, name, 'unbind')).toBe('ENODEV');
  });

  it('what is bound is EBUSY, what is not cannot be unbound', () => {
    const kernel = machine();
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBe('EBUSY');
    expect(bind(kernel.self, 'user', 'wq0.0')).toBe('EBUSY');
    const fresh = unbound();
    expect(bind(fresh.self, 'idxd', 'dsa0', 'unbind')).toBe('ENODEV');
    expect(bind(fresh.self, 'user', 'wq0.0', 'unbind')).toBe('ENODEV');
  });

  it('unbinding the device takes its queues along', () => {
    const kernel = machine();
    expect(bind(kernel.self, 'idxd', 'dsa0', 'unbind')).toBeUndefined();
    expect(kernel.self.devices()).toEqual([]);
    expect(kernel.self.sysfs.list('/sys/bus/dsa/drivers/user')).toEqual(['bind', 'unbind']);
    expect(bind(kernel.self, 'user', 'wq0.0', 'unbind')).toBe('ENODEV');
  });
});

describe('what fails when the device is bound', () => {
  const rows: [
    string,
    DsaOptions,
    MockKernelOptions,
    (kernel: MockKernel) => unknown,
    string,
    CmdStatusSymbol | number,
  ][] = [
    ['nothing in a group', queue({ group: -1 }), {}, () => undefined, 'ENXIO', 'WQ_NONE_CONFIGURED'],
    [
      'a shared queue without ENQCMD',
      queue({ mode: 'shared' }),
      { cpu: { enqcmd: false } },
      () => undefined,
      'ENXIO',
      'WQ_NO_SWQ_SUPPORT',
    ],
    [
      'a shared queue without PASID',
      queue({ mode: 'shared' }),
      { idxd: { sva: false } },
      () => undefined,
      'ENXIO',
      'WQ_NO_SWQ_SUPPORT',
    ],
    [
      'a shared queue without type',
      queue({ mode: 'shared', type: 'none' }),
      {},
      () => undefined,
      'ENXIO',
      'WQ_NO_SWQ_SUPPORT',
    ],
    [
      'no engine',
      queue(),
      {},
      (kernel) => kernel.self.sysfs.write('/sys/bus/dsa/devices/engine0.0/group_id', '-1'),
      'ENXIO',
      0x77,
    ],
    [
      'a kernel queue without privileged PASID',
      { ...queue({ type: 'kernel' }), privilegedPasid: false },
      {},
      () => undefined,
      'ENXIO',
      'WQ_NO_PRIV',
    ],
    [
      'no memory for the event log',
      { ...queue(), version: 0x200, evlSupport: 1 },
      {},
      (kernel) => kernel.inject('allocation-failure', 1),
      'ENOMEM',
      'DEV_EVL_ERR',
    ],
    [
      'no memory for the DMA device',
      queue(),
      {},
      (kernel) => kernel.inject('allocation-failure', 1),
      'ENOMEM',
      'DEV_DMA_ERR',
    ],
    ['a command that fails', queue(), {}, (kernel) => kernel.inject('command-failure', 1), 'ENXIO', 'HW_ERR'],
    [
      'an engine in another group',
      queue(),
      {},
      (kernel) => kernel.self.sysfs.write('/sys/bus/dsa/devices/engine0.0/group_id', '1'),
      'ENXIO',
      'ERR_GRP_CONFIG',
    ],
  ];
  it.each(rows)('%s', (_, device, options, prepare, code, status) => {
    const kernel = unbound(device, options);
    prepare(kernel);
    // "Unchanged" must show.
    const [hardware] = kernel.hardware;
    if (hardware !== undefined && 'cmdStatus' in hardware) hardware.cmdStatus = 0x77;
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBe(code);
    expect(cmdStatus(kernel)).toBe(typeof status === 'number' ? status : CMD_STATUS[status]);
    expect(state(kernel, DSA)).toBe('disabled');
  });

  it('a device that is not disabled', () => {
    const kernel = unbound();
    const [hardware] = kernel.hardware;
    if (hardware !== undefined && 'state' in hardware) hardware.state = 'enabled';
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBe('ENXIO');
    expect(cmdStatus(kernel)).toBe(CMD_STATUS.DEV_ENABLED);
  });

  it('a queue with a type but no size gets sixteen entries', () => {
    const kernel = unbound();
    write(kernel, { size: '0' });
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBeUndefined();
    expect(kernel.self.sysfs.read(`${WQ}/size`)).toBe('16');
  });

  it('which may be too many for the device', () => {
    const kernel = unbound({ maxWorkQueuesSize: 20, ...queue() });
    for (const [name, text] of Object.entries({ size: '0', type: 'user', group_id: '0', mode: 'dedicated' })) {
      kernel.self.sysfs.write(`/sys/bus/dsa/devices/wq0.1/${name}`, text);
    }
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBe('ENXIO');
    expect(cmdStatus(kernel)).toBe(CMD_STATUS.ERR_WQ_SIZE_ERANGE);
  });
});

describe('what fails when a queue is bound', () => {
  const rows: [
    string,
    DsaOptions,
    MockKernelOptions,
    (kernel: MockKernel) => unknown,
    string,
    CmdStatusSymbol | number,
  ][] = [
    ['another driver’s name', queue({ driverName: 'dmaengine' }), {}, () => undefined, 'ENODEV', 'WQ_NO_DRV_NAME'],
    [
      'the driver’s name before SVA',
      queue({ driverName: 'crypto' }),
      { idxd: { sva: false } },
      () => undefined,
      'ENODEV',
      'WQ_NO_DRV_NAME',
    ],
    ['no SVA', queue(), { idxd: { sva: false } }, () => undefined, 'EOPNOTSUPP', 'WQ_USER_NO_IOMMU'],
    ['no group', queue(), {}, (kernel) => write(kernel, { group_id: '-1' }), 'ENXIO', 'WQ_NO_GRP'],
    ['no name', queue(), {}, (kernel) => write(kernel, { type: 'kernel' }), 'ENXIO', 'WQ_NO_NAME'],
    [
      'group before name',
      queue(),
      {},
      (kernel) => write(kernel, { type: 'kernel', group_id: '-1' }),
      'ENXIO',
      'WQ_NO_GRP',
    ],
    [
      'shared, but no ENQCMD',
      queue(),
      { cpu: { enqcmd: false } },
      (kernel) => write(kernel, { mode: 'shared' }),
      'ENXIO',
      'WQ_NO_SVM',
    ],
    ['no threshold', queue(), {}, (kernel) => write(kernel, { mode: 'shared' }), 'ENXIO', 'WQ_NO_THRESH'],
    ['no priority', queue({ priority: 0 }), {}, () => undefined, 'ENXIO', 'ERR_WQ_PRIOR'],
    [
      'a mode that the hardware lacks',
      { ...queue({ mode: 'shared' }), sharedWorkQueues: false },
      {},
      () => undefined,
      'ENXIO',
      'ERR_WQ_MODE',
    ],
    ['a command that fails', queue(), {}, (kernel) => kernel.inject('command-failure', 1), 'ENXIO', 'HW_ERR'],
    [
      'no memory for the character device',
      queue(),
      {},
      (kernel) => kernel.inject('allocation-failure', 1),
      'ENOMEM',
      'CDEV_ERR',
    ],
  ];
  it.each(rows)('%s', (_, device, options, prepare, code, status) => {
    const disabled = (device.workQueues ?? []).map((one) => Object.assign({}, one, { enabled: false }));
    const kernel = machine({ ...device, workQueues: disabled }, options);
    expect(state(kernel, DSA)).toBe('enabled');
    prepare(kernel);
    expect(bind(kernel.self, 'user', 'wq0.0')).toBe(code);
    expect(cmdStatus(kernel)).toBe(typeof status === 'number' ? status : CMD_STATUS[status]);
    expect(state(kernel)).toBe('disabled');
    expect(errno(() => kernel.self.open('/dev/dsa/wq0.0'))).toBe('ENOENT');
  });

  it('a device that is not enabled', () => {
    const kernel = unbound();
    expect(bind(kernel.self, 'user', 'wq0.0')).toBe('ENXIO');
    expect(cmdStatus(kernel)).toBe(0);
  });

  it('a queue that is enabled without being bound', () => {
    const kernel = machine(queue({ enabled: false }));
    const [hardware] = kernel.hardware;
    if (hardware !== undefined && 'workQueues' in hardware)
      Object.assign(hardware.workQueues[0] ?? {}, { state: 'enabled' });
    expect(bind(kernel.self, 'user', 'wq0.0')).toBe('EBUSY');
    expect(cmdStatus(kernel)).toBe(CMD_STATUS.WQ_ENABLED);
  });

  it('limits that the device does not have', () => {
    const small = { maxTransferSize: 65536, maxBatchSize: 16 };
    const kernel = machine({ ...small, ...queue() });
    expect(kernel.self.sysfs.read(`${WQ}/max_transfer_size`)).toBe('65536');
    bind(kernel.self, 'user', 'wq0.0', 'unbind');
    // The driver's defaults, which it sets without looking at the device.
    write(kernel, { mode: 'dedicated', type: 'user', name: 'x', priority: '1' });
    expect(bind(kernel.self, 'user', 'wq0.0')).toBe('ENXIO');
    expect(cmdStatus(kernel)).toBe(CMD_STATUS.ERR_MAX_BATCH_SIZE);
    write(kernel, { max_batch_size: '16', type: 'user', name: 'x' });
    expect(bind(kernel.self, 'user', 'wq0.0')).toBe('ENXIO');
    expect(cmdStatus(kernel)).toBe(CMD_STATUS.ERR_MAX_XFER_SIZE);
  });

  it('a neighbour that was disabled and is still in its group', () => {
    const kernel = machine({ workQueues: [1, 2].map(() => ({ mode: 'dedicated', size: 8 })) });
    bind(kernel.self, 'user', 'wq0.0', 'unbind');
    bind(kernel.self, 'user', 'wq0.1', 'unbind');
    write(kernel, { mode: 'dedicated', type: 'user', name: 'x', priority: '1' });
    expect(bind(kernel.self, 'user', 'wq0.0')).toBe('EINVAL');
    expect(cmdStatus(kernel)).toBe(CMD_STATUS.WQ_NO_SWQ_SUPPORT);
    kernel.self.sysfs.write('/sys/bus/dsa/devices/wq0.1/group_id', '-1');
    write(kernel, { type: 'user', name: 'x' });
    expect(bind(kernel.self, 'user', 'wq0.0')).toBeUndefined();
    expect(cmdStatus(kernel)).toBe(0);
  });

  it('driver_name is not asked for before v6.7, and only its beginning counts after', () => {
    const old = machine(queue({ driverName: 'dmaengine' }), { idxd: { driverName: false } });
    expect(state(old)).toBe('enabled');
    expect(state(machine(queue({ driverName: 'user2' })))).toBe('enabled');
  });
});

describe('when the machine starts', () => {
  it('legacy needs no SVA of the driver: whoever binds brings the PASID', () => {
    const device: DsaOptions = { ...queue({ mode: 'shared' }), pasidBits: 0, iommu: false };
    const kernel = machine(device, { semantics: 'legacy', config: { intelIommuSvm: false }, idxd: { sva: false } });
    expect(kernel.self.devices()).toHaveLength(1);
  });

  it('what Linux refuses stays down, and cmd_status says why', () => {
    const kernel = machine(queue(), { idxd: { sva: false } });
    expect([state(kernel, DSA), state(kernel), cmdStatus(kernel)]).toEqual([
      'enabled',
      'disabled',
      CMD_STATUS.WQ_USER_NO_IOMMU,
    ]);
  });

  it('each group that is used gets an engine', () => {
    const kernel = machine({ workQueues: [3, 1, 3].map((group) => ({ mode: 'dedicated', size: 8, group })) });
    const engines = kernel.self.sysfs.list(DSA).filter((name) => name.startsWith('engine'));
    expect(engines.map((name) => kernel.self.sysfs.read(`${DSA}/${name}/group_id`))).toEqual(['1', '3', '-1', '-1']);
  });

  it('an IAX that nobody configured is preset for the kernel', () => {
    const kernel = machine({ type: 'iax', workQueues: [] });
    const text = (name: string): string => kernel.self.sysfs.read(`${WQ}/${name}`);
    expect(['mode', 'size', 'type', 'name', 'driver_name', 'group_id', 'state'].map(text)).toEqual([
      'dedicated',
      '128',
      'kernel',
      'iaa_crypto',
      'crypto',
      '0',
      'disabled',
    ]);
    expect(state(kernel, '/sys/bus/dsa/devices/iax0')).toBe('enabled');
    expect(kernel.self.devices()).toEqual([]);
  });

  it('minors of DSA and IAX are counted apart', () => {
    const workQueues: WorkQueueOptions[] = [{ mode: 'dedicated', size: 4 }];
    const kernel = createMockKernel({
      semantics: 'modern',
      devices: [
        { type: 'dsa', bdf: BDF, workQueues },
        { type: 'iax', bdf: '0000:6a:02.0', workQueues },
        { type: 'dsa', bdf: '0000:e7:01.0', workQueues },
      ],
    });
    expect(kernel.self.devices().map(({ path }) => path)).toEqual([
      '/dev/dsa/wq0.0',
      '/dev/iax/wq1.0',
      '/dev/dsa/wq2.0',
    ]);
    const minors = [0, 1, 2].map((id) => kernel.self.sysfs.read(`/sys/bus/dsa/devices/wq${id}.0/cdev_minor`));
    expect(minors).toEqual(['0', '0', '1']);
    expect(kernel.hardware.map(({ name }) => name)).toEqual(['dsa0', 'iax1', 'dsa2']);
  });

  const impossible: [string, DsaOptions, string][] = [
    [
      'sizes above the total',
      {
        workQueues: [
          { mode: 'dedicated', size: 100 },
          { mode: 'dedicated', size: 29 },
        ],
      },
      'ERR_OUT_OF_RANGE',
    ],
    [
      'more queues than there are',
      { maxWorkQueues: 1, workQueues: [1, 1].map((size) => ({ mode: 'dedicated', size })) },
      'ERR_OUT_OF_RANGE',
    ],
    ['a PCI address that is none', { bdf: '6a:01.0' }, 'ERR_INVALID_ARG_VALUE'],
    ['pasidBits', { pasidBits: 21 }, 'ERR_OUT_OF_RANGE'],
    ['version', { version: 1 }, 'ERR_OUT_OF_RANGE'],
    ['numaNode', { numaNode: -2 }, 'ERR_OUT_OF_RANGE'],
    ['latency', { latency: -1 }, 'ERR_OUT_OF_RANGE'],
    ['latencyPerKiB', { latencyPerKiB: Infinity }, 'ERR_OUT_OF_RANGE'],
    ['maxEngines', { maxEngines: 0 }, 'ERR_OUT_OF_RANGE'],
    ['maxTransferSize', { maxTransferSize: 2 ** 31 + 1 }, 'ERR_OUT_OF_RANGE'],
    ['an opcode', { operations: [256] }, 'ERR_OUT_OF_RANGE'],
    ['evlSupport', { version: 0x200, evlSupport: 3 }, 'ERR_OUT_OF_RANGE'],
    ['an event log in a DSA 1.0', { evlSupport: 1 }, 'ERR_INVALID_ARG_VALUE'],
    ['batches of an IAX', { type: 'iax', maxBatchSize: 4 }, 'ERR_INVALID_ARG_VALUE'],
    [
      'fewer engines than groups',
      { maxEngines: 1, workQueues: [0, 1].map((group) => ({ mode: 'dedicated', size: 4, group })) },
      'ERR_INVALID_ARG_VALUE',
    ],
    ['a queue’s size', queue({ size: 0 }), 'ERR_OUT_OF_RANGE'],
    ['a queue’s threshold', queue({ mode: 'shared', threshold: 17 }), 'ERR_OUT_OF_RANGE'],
    ['a threshold of a dedicated queue', queue({ threshold: 1 }), 'ERR_INVALID_ARG_VALUE'],
    ['a queue’s priority', queue({ priority: 16 }), 'ERR_OUT_OF_RANGE'],
    ['a queue’s group', queue({ group: 4 }), 'ERR_OUT_OF_RANGE'],
    ['a queue’s name', queue({ name: '' }), 'ERR_INVALID_ARG_VALUE'],
    ['a queue’s driver name', queue({ driverName: 'd'.repeat(129) }), 'ERR_INVALID_ARG_VALUE'],
    ['a queue’s transfer size', { maxTransferSize: 4096, ...queue({ maxTransferSize: 4097 }) }, 'ERR_OUT_OF_RANGE'],
    ['a queue’s batch size', queue({ maxBatchSize: 2000 }), 'ERR_OUT_OF_RANGE'],
    ['a batch size on IAX', { type: 'iax', ...queue({ maxBatchSize: 2 }) }, 'ERR_INVALID_ARG_VALUE'],
    ['a queue’s node mode', queue({ nodeMode: 0o1777 }), 'ERR_OUT_OF_RANGE'],
    [
      'block on fault where the hardware cannot',
      { blockOnFault: false, ...queue({ blockOnFault: true }) },
      'ERR_INVALID_ARG_VALUE',
    ],
    [
      'a shared queue fixed in hardware',
      { configurable: false, ...queue({ mode: 'shared' }) },
      'ERR_INVALID_ARG_VALUE',
    ],
  ];
  it.each(impossible)('options that no machine can have: %s', (_, device, code) => {
    expect(() => machine(device)).toThrow(expect.objectContaining({ code }));
  });
});
