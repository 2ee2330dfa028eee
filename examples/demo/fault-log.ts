import { SVM_REQ_EXEC, SVM_REQ_PRIV, SVM_REQ_READ, SVM_REQ_WRITE, type SvmDevOps } from 'intel-svm';

/** Requests that are kept in full; the others are only counted. */
const KEPT = 4;

/** A page request as the fault callback told it. */
export interface PageRequest {
  readonly address: bigint;
  /** What the device asked for: 'rwxp', with '-' for what it did not. */
  readonly rights: string;
  /** What the device was answered: 0 success, 1 invalid request. */
  readonly response: number;
}

export interface PageRequests {
  readonly count: number;
  readonly first: readonly PageRequest[];
}

/** Counts the page requests of a device and keeps the first few. */
export class FaultLog {
  /** For the bind. One object for all binds: another one would be refused with EBUSY. */
  readonly ops: SvmDevOps = {
    faultCb: (_device, _pasid, address, _private, rwxp, response) => {
      this.#count += 1;
      if (this.#first.length < KEPT) this.#first.push({ address, rights: rightsOf(rwxp), response });
    },
  };
  #count = 0;
  #first: PageRequest[] = [];

  /** What came in since the last call. */
  take(): PageRequests {
    const taken = { count: this.#count, first: this.#first };
    this.#count = 0;
    this.#first = [];
    return taken;
  }
}

function rightsOf(rwxp: number): string {
  const letters = [
    [SVM_REQ_READ, 'r'],
    [SVM_REQ_WRITE, 'w'],
    [SVM_REQ_EXEC, 'x'],
    [SVM_REQ_PRIV, 'p'],
  ] as const;
  return letters.map(([bit, letter]) => (rwxp & bit ? letter : '-')).join('');
}
