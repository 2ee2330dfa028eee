import { idxdFaults } from './idxd/faults.js';
import { idxdFiles } from './idxd/files.js';
import { idxdHardwarePasid } from './idxd/hardware-pasid.js';
import { idxdOperations } from './idxd/operations.js';
import { idxdSubmission } from './idxd/submission.js';
import { bindErrors } from './legacy/bind.js';
import { checkOrder as legacyCheckOrder } from './legacy/check-order.js';
import { faultPath as legacyFaultPath, pageRequestRing } from './legacy/fault-path.js';
import { pasidNumbers } from './legacy/pasid-numbers.js';
import { privateAndSupervisor } from './legacy/private-and-supervisor.js';
import { processLife } from './legacy/process-life.js';
import { stubs } from './legacy/stubs.js';
import { switches } from './legacy/switches.js';
import { unbindAndValidity } from './legacy/unbind-and-validity.js';
import { bindInOpen } from './modern/bind.js';
import { checkOrder as modernCheckOrder } from './modern/check-order.js';
import { faultPath as modernFaultPath } from './modern/fault-path.js';
import { lam, pasidLife } from './modern/pasid-life.js';
import { badInput } from './shared/bad-input.js';
import { bind } from './shared/bind.js';
import { closed } from './shared/closed.js';
import { errors } from './shared/errors.js';
import { invalidation } from './shared/invalidation.js';
import { probing } from './shared/probe.js';
import { resource } from './shared/resource.js';
import { unbind } from './shared/unbind.js';
import { validity } from './shared/validity.js';
import { svaRefused } from './sva-refused.js';
import type { Subject } from './suite.js';

/** The suite: what holds everywhere, the functions of intel-svm.h, and binding in open(2). */
export const SUBJECTS: readonly Subject[] = [
  bind,
  unbind,
  validity,
  probing,
  resource,
  errors,
  badInput,
  closed,
  invalidation,

  bindErrors,
  legacyCheckOrder,
  pasidNumbers,
  privateAndSupervisor,
  unbindAndValidity,
  processLife,
  stubs,
  switches,
  legacyFaultPath,
  pageRequestRing,

  bindInOpen,
  modernCheckOrder,
  pasidLife,
  lam,
  modernFaultPath,

  idxdFiles,
  idxdSubmission,
  idxdOperations,
  idxdFaults,
  idxdHardwarePasid,

  svaRefused,
];
