import { bindMm, connect, DESC_FLAG, DSA_OPCODE, isPasidValid, unbindMm, WorkQueue, type SvmDevOps } from 'intel-svm';

const connection = await connect({ backend: 'auto' });
console.log(`${connection.backend}: ${connection.reason}`);
const device = connection.devices().find(({ type }) => type === 'dsa');
if (device === undefined) throw new Error('no DSA work queue');

// The header's functions.
const ops: SvmDevOps = {
  faultCb: (_dev, pasid, address, _private, rwxp, response) =>
    console.log('page request', { pasid, address, rwxp, response }),
};
const pasid = bindMm(device, { ops });
console.log(pasid, isPasidValid(device, pasid));
unbindMm(device, pasid);

// A work queue binds by itself. The device copies between two ordinary buffers.
await using queue = new WorkQueue(device, { ops });
const { kernel } = connection;
const [source, target] = [Buffer.alloc(1 << 20, 'intel-svm'), Buffer.alloc(1 << 20)];
const move = { opcode: DSA_OPCODE.MEMMOVE, srcAddr: kernel.addressOf(source), dstAddr: kernel.addressOf(target) };
const flags = queue.blockOnFault ? DESC_FLAG.BOF : 0;
const { status } = await queue.run({ ...move, xferSize: source.length, flags }, [source, target]);
console.log(`status ${status}, equal: ${source.equals(target)}`);
