import { describe, expect, it } from 'vitest';
import { COMP_STATUS } from '../../../lib/abi/completion-status.js';
import { CMD_STATUS } from '../../../lib/abi/cmd-status.js';
import type { MockKernel } from 'intel-svm/mock';
import { SUBMISSION_ERROR } from '../../../mock/devices/idxd/error-register.js';
import { IdxdDevice } from '../../../mock/devices/idxd/device.js';
import { Client, DSA, WQ, bind, errno, machine, swerr, type DsaOptions } from './idxd-tools.js';

const { SUCCESS } = COMP_STATUS;
const NODE = '/dev/dsa/wq0.0';
const read = (kernel: MockKernel, path: string): string => kernel.self.sysfs.read(path);
const HELD = { openFiles: 0, deviceMappings: 0, bindings: 0, allocations: 0 };

function hardware(kernel: MockKernel): IdxdDevice {
  const [device] = kernel.hardware;
  if (!(device instanceof IdxdDevice)) throw new TypeError('the machine has no IDXD device');
  return device;
}

describe('a queue that is disabled under its clients (kernel-facts 4.6)', () => {
  it.each(['dedicated', 'shared'] as const)(
    '%s: work in flight is finished, then the portal takes nothing more',
    (mode) => {
      const kernel = machine({ workQueues: [{ mode, size: 8 }] }, { clock: 'manual' });
      const client = new Client(kernel, { shared: mode === 'shared' });
      const slots = Array.from({ length: 8 }, () => client.submit({}));
      expect(bind(kernel.self, 'user', 'wq0.0', 'unbind')).toBeUndefined();
      expect(slots.map((slot) => client.status(slot))).toEqual(slots.map(() => SUCCESS));
      expect(read(kernel, `${WQ}/clients`)).toBe('0');

      // The mapping stays: MOVDIR64B is lost, ENQCMD says "retry" for ever.
      const late = client.encode({});
      expect(client.store(late)).toBe(mode === 'dedicated');
      kernel.clock.runUntilIdle();
      expect(client.status(late)).toBe(0);
      expect(swerr(kernel.self).error).toBe(mode === 'dedicated' ? SUBMISSION_ERROR.QUEUE_DISABLED : 0);
      client.close();
      expect(kernel.counters()).toMatchObject(HELD);
      expect(read(kernel, `${WQ}/clients`)).toBe('0');
    },
  );

  it('the files of its clients vanish from sysfs', () => {
    const kernel = machine();
    const fd = kernel.self.open(NODE);
    bind(kernel.self, 'user', 'wq0.0', 'unbind');
    expect(kernel.self.sysfs.list('/sys/bus/dsa/devices').filter((name) => name.startsWith('file'))).toEqual([]);
    kernel.self.close(fd);
  });

  it('an old client does not count on a queue that was enabled again', () => {
    const kernel = machine();
    const old = new Client(kernel);
    bind(kernel.self, 'user', 'wq0.0', 'unbind');
    for (const [name, text] of Object.entries({ mode: 'dedicated', type: 'user', name: 'again', priority: '1' })) {
      kernel.self.sysfs.write(`${WQ}/${name}`, text);
    }
    expect(bind(kernel.self, 'user', 'wq0.0')).toBeUndefined();
    const other = new Client(kernel, { process: kernel.spawn() });
    expect(read(kernel, `${WQ}/clients`)).toBe('1');
    old.close();
    expect(read(kernel, `${WQ}/clients`)).toBe('1');
    expect(other.run({}).status).toBe(SUCCESS);
  });

  it('unbinding the device drains every queue', () => {
    const kernel = machine(
      { workQueues: [0, 1].map((group) => ({ mode: 'dedicated', size: 8, group })) },
      { clock: 'manual' },
    );
    const clients = [NODE, '/dev/dsa/wq0.1'].map((path) => new Client(kernel, { path }));
    const slots = clients.map((client) => client.submit({}));
    bind(kernel.self, 'idxd', 'dsa0', 'unbind');
    expect(clients.map((client, index) => client.status(slots[index] ?? 0))).toEqual([SUCCESS, SUCCESS]);
    for (const client of clients) client.close();
    expect(kernel.counters()).toMatchObject(HELD);
  });

  it('a disable that the device refuses leaves it enabled', () => {
    const kernel = machine();
    bind(kernel.self, 'user', 'wq0.0', 'unbind');
    kernel.inject('command-failure', 1);
    bind(kernel.self, 'idxd', 'dsa0', 'unbind');
    // Reset does what disable did not.
    expect(read(kernel, `${DSA}/state`)).toBe('disabled');
  });
});

describe('a device that halts', () => {
  const shared: DsaOptions = { workQueues: [{ mode: 'shared', size: 8 }] };

  it('software reset: halted for a while, then everything is as before', () => {
    const kernel = machine({}, { clock: 'manual' });
    const client = new Client(kernel);
    const lost = client.submit({});
    hardware(kernel).halt('software-reset');
    expect(read(kernel, `${DSA}/state`)).toBe('halted');
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBe('EBUSY');
    expect(client.store(client.encode({}))).toBe(true);
    kernel.clock.runUntilIdle();
    expect(client.status(lost)).toBe(0);
    expect([read(kernel, `${DSA}/state`), read(kernel, `${WQ}/state`)]).toEqual(['enabled', 'enabled']);
    expect(swerr(kernel.self).valid).toBe(false);
    expect(client.run({}).status).toBe(SUCCESS);
    client.close();
  });

  it('software reset that fails: the configuration is gone', () => {
    const kernel = machine({}, { clock: 'manual' });
    hardware(kernel).halt('software-reset');
    kernel.inject('command-failure', 1);
    kernel.clock.runUntilIdle();
    expect([read(kernel, `${DSA}/state`), read(kernel, `${WQ}/size`)]).toEqual(['disabled', '0']);
  });

  it('a halted device opens no dedicated queue, and closes one without waiting', () => {
    const kernel = machine({}, { clock: 'manual' });
    const client = new Client(kernel);
    client.submit({});
    hardware(kernel).halt('software-reset');
    client.close();
    expect(kernel.counters()).toMatchObject(HELD);
    expect(errno(() => kernel.self.open(NODE))).toBe('ENXIO');
    expect(kernel.counters()).toMatchObject(HELD);
  });

  it('function-level reset: configuration saved, nodes new, the old file of a dedicated queue without PASID', () => {
    const kernel = machine({
      workQueues: [{ mode: 'dedicated', size: 8, blockOnFault: true, name: 'kept', priority: 7 }],
    });
    const client = new Client(kernel);
    hardware(kernel).halt('flr');
    expect(read(kernel, `${DSA}/state`)).toBe('halted');
    kernel.clock.runUntilIdle();
    expect([read(kernel, `${DSA}/state`), read(kernel, `${WQ}/state`)]).toEqual(['enabled', 'enabled']);
    expect(
      ['name', 'priority', 'mode', 'block_on_fault', 'clients'].map((name) => read(kernel, `${WQ}/${name}`)),
    ).toEqual(['kept', '7', 'dedicated', '1', '0']);
    expect(client.run({}).status).toBe(0);
    expect(kernel.counters().dmaFaults).toBe(1);
    const next = new Client(kernel, { process: kernel.spawn() });
    expect(next.run({}).status).toBe(SUCCESS);
    client.close();
    expect(next.run({}).status).toBe(SUCCESS);
  });

  it('function-level reset: a shared queue goes on, for its file knows the PASID', () => {
    const kernel = machine(shared);
    const client = new Client(kernel, { shared: true });
    hardware(kernel).halt('flr');
    expect(client.store(client.encode({}))).toBe(false);
    kernel.clock.runUntilIdle();
    expect(client.run({}).status).toBe(SUCCESS);
    client.close();
    expect(kernel.counters()).toMatchObject(HELD);
  });

  it.each([
    ['system-reset', {}],
    ['flr', { idxd: { flrRecovery: false } }],
  ] as const)('%s on a kernel that cannot repair it: down for good', (recovery, options) => {
    const kernel = machine(shared, options);
    const client = new Client(kernel, { shared: true });
    client.submit({});
    hardware(kernel).halt(recovery);
    kernel.clock.runUntilIdle();
    expect(client.status(0)).toBe(0);
    expect(read(kernel, `${DSA}/state`)).toBe('disabled');
    expect([read(kernel, `${WQ}/size`), read(kernel, `${WQ}/state`)]).toEqual(['0', 'disabled']);
    client.close();
    expect(kernel.counters()).toMatchObject(HELD);
    expect(bind(kernel.self, 'idxd', 'dsa0', 'unbind')).toBeUndefined();
    kernel.self.sysfs.write('/sys/bus/dsa/devices/engine0.0/group_id', '0');
    for (const [name, text] of Object.entries({ mode: 'dedicated', size: '4', group_id: '0', type: 'user' })) {
      kernel.self.sysfs.write(`${WQ}/${name}`, text);
    }
    expect(bind(kernel.self, 'idxd', 'dsa0')).toBe('ENXIO');
    expect(Number(read(kernel, `${DSA}/cmd_status`))).toBe(CMD_STATUS.SUCCESS);
  });

  it('halts once', () => {
    const kernel = machine();
    hardware(kernel).halt('software-reset');
    hardware(kernel).halt('system-reset');
    kernel.clock.runUntilIdle();
    expect(read(kernel, `${DSA}/state`)).toBe('enabled');
  });
});
