import { bindMm, isPasidValid, SvmError, unbindMm } from 'intel-svm';
import { createMockKernel } from 'intel-svm/mock';

const kernel = createMockKernel({
  semantics: 'legacy',
  iommu: { pasidBits: 20, srs: true },
  devices: [
    { type: 'dsa', bdf: '0000:6a:01.0', workQueues: [{ mode: 'dedicated', size: 16 }] },
    { type: 'dsa', bdf: '0000:6f:01.0', pasidBits: 4, workQueues: [{ mode: 'shared', size: 16 }] },
  ],
});
const [a, b] = kernel.self.devices();
if (a === undefined || b === undefined) throw new Error('two queues were configured');

// Another process: its own address space, its own PASID.
const other = kernel.spawn();
const [theirs] = other.devices();
if (theirs === undefined) throw new Error('every process finds the same devices');
const pasid = bindMm(theirs);
other.exit();
console.log(isPasidValid(b, pasid)); // false: the number is allocated, but nobody lives behind it
unbindMm(a, pasid); // the kernel lets any process do this

// Something goes wrong.
{
  using injected = kernel.inject('pasid-exhaustion', 1);
  try {
    bindMm(a);
  } catch (error) {
    if (!(error instanceof SvmError)) throw error;
    console.log(error.code, injected.hits); // ENOSPC 1
  }
}
console.log(kernel.counters().pasids); // 0: nothing is left behind
