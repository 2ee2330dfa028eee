export { connect, devices, type BackendChoice, type ConnectOptions, type Connection } from './connect.js';
export { available, bindMm, hardwarePasid, isPasidValid, probe, unbindMm, type BindOptions } from './svm/bind.js';
export type { Roots } from './linux/roots.js';
export { findHardwarePasid, type HardwarePasid, type PasidSource } from './idxd/hardware-pasid.js';
export { WorkQueue, type RunOptions, type WorkQueueOptions } from './idxd/work-queue.js';
export type { SubmissionMode } from './idxd/submission.js';
export type { Completion, DescriptorFields } from './idxd/ring.js';
export { SvmBinding } from './svm/binding.js';
export { SvmDevice, type DeviceInfo, type DeviceType, type SvmDevOps } from './svm/device.js';
export { COMP_STATUS, completionStatus, isWriteFault, statusCode } from './abi/completion-status.js';
export { DESC_FLAG } from './abi/descriptor-flags.js';
export { DSA_OPCODE } from './abi/dsa.js';
export {
  PRQ_RESPONSE_FAILURE,
  PRQ_RESPONSE_INVALID,
  PRQ_RESPONSE_SUCCESS,
  SVM_FLAG_PRIVATE_PASID,
  SVM_FLAG_SUPERVISOR_MODE,
  SVM_REQ_EXEC,
  SVM_REQ_PRIV,
  SVM_REQ_READ,
  SVM_REQ_WRITE,
} from './abi/svm.js';
export { UACCE_CMD_PUT_Q, UACCE_CMD_START_Q, UACCE_REGION } from './abi/uacce.js';
export { SvmError, type SvmErrorContext } from './errors.js';
export { POLL } from './kernel.js';
export type { ErrnoName } from './abi/errno.js';
export type {
  AllocOptions,
  CpuFeatures,
  DeviceMapping,
  DeviceNode,
  DmaBuffer,
  Kernel,
  MemoryView,
  Pin,
  Protection,
  Submit,
  SubmitInstruction,
  SvmCalls,
  Sysfs,
} from './kernel.js';
