/** Where the file systems that the port names '/dev', '/sys' and '/proc' are mounted. */
export interface Roots {
  readonly dev: string;
  readonly sys: string;
  readonly proc: string;
}

const place = (given: string | undefined, usual: string): string => (given ?? usual).replace(/\/+$/, '');

/** Fills in the usual places, and drops slashes at the end. */
export function resolveRoots(roots: Partial<Roots>): Roots {
  return { dev: place(roots.dev, '/dev'), sys: place(roots.sys, '/sys'), proc: place(roots.proc, '/proc') };
}
