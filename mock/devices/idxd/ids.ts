/** Numbers handed out lowest free first, from 0 on: `struct ida`. */
export class Ids {
  readonly #used = new Set<number>();

  allocate(): number {
    let id = 0;
    while (this.#used.has(id)) id += 1;
    this.#used.add(id);
    return id;
  }

  free(id: number): void {
    this.#used.delete(id);
  }
}
