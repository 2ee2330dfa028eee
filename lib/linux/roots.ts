import { existsSync, realpathSync } from 'node:fs';

/** Where the file systems that the port names '/dev', '/sys' and '/proc' are mounted. */
export interface Roots {
  readonly dev: string;
  readonly sys: string;
  readonly proc: string;
}

/** The real path, since links in sysfs are resolved to it; a root that is not there is an empty one. */
function place(given: string | undefined, usual: string): string {
  const path = given ?? usual;
  return existsSync(path) ? realpathSync.native(path) : path.replace(/\/+$/, '');
}

/** Fills in the usual places. */
export function resolveRoots(roots: Partial<Roots>): Roots {
  return { dev: place(roots.dev, '/dev'), sys: place(roots.sys, '/sys'), proc: place(roots.proc, '/proc') };
}
