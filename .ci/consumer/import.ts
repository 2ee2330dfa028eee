import { bindMm, connect, isPasidValid, SvmError, unbindMm, type SvmDevOps } from 'intel-svm';
import { createMockKernel } from 'intel-svm/mock';

const kernel = createMockKernel({
  devices: [{ type: 'dsa', bdf: '0000:6a:01.0', workQueues: [{ mode: 'dedicated', size: 16 }] }],
});
const [device] = kernel.self.devices();
if (device === undefined) throw new Error('the mock has no device');

const ops: SvmDevOps = { faultCb: (_dev, _pasid, address) => console.log(address) };
const pasid = bindMm(device, { ops });
if (!isPasidValid(device, pasid)) throw new Error('the PASID is not valid');
unbindMm(device, pasid);
if (kernel.counters().pasids !== 0) throw new Error('a PASID is left');

const reason = await connect({ backend: 'linux' }).then(
  (connection) => connection.reason,
  (error: unknown) => {
    if (error instanceof SvmError) return `${error.code}: ${error.hint}`;
    throw error;
  },
);
console.log(`import: PASID ${pasid} bound and unbound; linux: ${reason}`);
