import { it } from 'vitest';
import { SvmError } from 'intel-svm';
import { linuxBackend } from './linux-backend.js';
import { runSuite } from './suite.js';
import { SUBJECTS } from './subjects.js';
import { svaRefused } from './sva-refused.js';

const backend = await linuxBackend().catch((error: unknown) => {
  if (error instanceof SvmError && error.code === 'ENODEV') return error;
  throw error;
});

if (backend instanceof SvmError) {
  const { hint } = backend;
  it("the suite on this machine's kernel", (context) => context.skip(hint));
} else {
  // Where every bind is refused there is one thing to check: that it is, and how.
  runSuite(backend, backend.features.has('sva-refused') ? [svaRefused] : SUBJECTS);
}
