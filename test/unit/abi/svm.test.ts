import { describe, expect, it } from 'vitest';
import * as svm from '../../../lib/abi/svm.js';

describe('intel-svm.h', () => {
  it('the rights of a request are read 8, write 4, execute 2, privileged 1', () => {
    expect([svm.SVM_REQ_READ, svm.SVM_REQ_WRITE, svm.SVM_REQ_EXEC, svm.SVM_REQ_PRIV]).toEqual([8, 4, 2, 1]);
  });

  it('the flags of a bind are private 1, supervisor 2', () => {
    expect([svm.SVM_FLAG_PRIVATE_PASID, svm.SVM_FLAG_SUPERVISOR_MODE]).toEqual([1, 2]);
  });

  it('a PASID has 20 bits', () => {
    expect([svm.PASID_BITS, svm.PASID_MAX]).toEqual([20, 0xf_ffff]);
  });

  it('a page request is answered with 0, 1 or 15', () => {
    expect([svm.PRQ_RESPONSE_SUCCESS, svm.PRQ_RESPONSE_INVALID, svm.PRQ_RESPONSE_FAILURE]).toEqual([0, 1, 15]);
  });
});
