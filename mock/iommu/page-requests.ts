import type { Clock } from '../clock.js';
import type { DeviceContext } from './device-context.js';

/** One PCIe page request, as it stands in the ring (VT-d spec, Page Request Descriptor). */
export interface PageRequest {
  readonly device: DeviceContext;
  /** `undefined`: a request without PASID prefix. */
  readonly pasid: number | undefined;
  /** Byte address of the page. */
  readonly address: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
  readonly privileged: boolean;
  /** Page request group index, 9 bits, the device's choice: requests of one group get one response. */
  readonly group: number;
  readonly lastInGroup: boolean;
  /** 16 bytes that the device wants back with the response, or none. */
  readonly privateData: Uint8Array | undefined;
  /** Receives the response code of the group: `PRQ_RESPONSE_*`. Not called when the request was lost. */
  readonly respond: (code: number) => void;
}

/** How the ring behaves, by kernel version. */
export interface PageRequestRing {
  /** Requests that it holds before it overflows. */
  readonly entries: number;
  /** Whether the interrupt thread clears the overflow bit; where it does not, requests stop for good (v5.1). */
  readonly recoversFromOverflow: boolean;
}

/** From the request to the interrupt thread that serves it, nanoseconds. The order of magnitude of a real fault. */
const INTERRUPT_LATENCY = 4_000;

/** The page request queue of one IOMMU unit: a ring that devices fill and the interrupt thread empties. */
export class PageRequestQueue {
  /** Requests that found the ring full, or found it stopped after an overflow. */
  lost = 0;
  /** Requests handed to the kernel. */
  served = 0;
  /** PRO: the ring overflowed and takes nothing more until it is cleared. */
  overflowed = false;
  #ring: PageRequest[] = [];
  #interrupt = false;
  readonly #clock: Clock;
  readonly #options: PageRequestRing;
  #handler: ((requests: readonly PageRequest[]) => void) | undefined;
  #recover: (() => void) | undefined;

  constructor(clock: Clock, options: PageRequestRing) {
    this.#clock = clock;
    this.#options = options;
  }

  /**
   * Installs the interrupt thread: it answers the requests that it is handed, in order.
   * @param recover called when the overflow bit is cleared, with the ring empty: requests have been lost
   */
  serveWith(handler: (requests: readonly PageRequest[]) => void, recover?: () => void): void {
    this.#handler = handler;
    this.#recover = recover;
  }

  /** A device posts a request. It is lost when the ring is full. */
  post(request: PageRequest): void {
    if (this.overflowed || this.#ring.length >= this.#options.entries) {
      this.overflow();
      this.lost += 1;
      return;
    }
    this.#ring.push(request);
    this.#raise();
  }

  /** Sets PRO, as a device that posts too much does. */
  overflow(): void {
    this.overflowed = true;
    this.#raise();
  }

  #raise(): void {
    if (this.#interrupt) return;
    this.#interrupt = true;
    this.#clock.after(INTERRUPT_LATENCY, () => {
      this.#interrupt = false;
      this.#serve();
    });
  }

  #serve(): void {
    const requests = this.#ring;
    this.#ring = [];
    this.served += requests.length;
    if (requests.length > 0) this.#handler?.(requests);
    if (!this.overflowed || !this.#options.recoversFromOverflow) return;
    this.overflowed = false;
    this.#recover?.();
  }
}
