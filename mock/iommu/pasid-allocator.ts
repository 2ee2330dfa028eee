/** System-wide PASID numbers, lowest free first; a freed number is handed out again at once (kernel-side ida/ioasid). */
export class PasidAllocator {
  readonly #used = new Set<number>();
  /** No number below it is free. */
  #lowest = 1;

  /** Numbers in use. */
  get size(): number {
    return this.#used.size;
  }

  /**
   * @param last highest number that may be handed out
   * @returns the lowest free number from 1 on, or `undefined` when none is free. PASID 0 means "request without PASID" and is never given.
   */
  allocate(last: number): number | undefined {
    while (this.#used.has(this.#lowest)) this.#lowest += 1;
    if (this.#lowest > last) return undefined;
    this.#used.add(this.#lowest);
    return this.#lowest;
  }

  free(pasid: number): void {
    if (this.#used.delete(pasid) && pasid < this.#lowest) this.#lowest = pasid;
  }
}
