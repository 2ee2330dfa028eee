import { fail } from '../errno.js';

/** An attribute file. `show` and `store` throw `Errno`. */
export interface Attribute {
  /** Permission bits, e.g. 0o644. The owner is root. */
  readonly mode: number;
  /** Text without the final newline. Absent: the file cannot be read (EACCES). */
  readonly show?: () => string;
  /** @param text what was written, without a final newline. Absent: the file cannot be written (EACCES). */
  readonly store?: (text: string) => void;
}

type Node =
  | { readonly kind: 'directory'; readonly children: Map<string, Node> }
  | { readonly kind: 'attribute'; readonly attribute: Attribute }
  | { readonly kind: 'link'; readonly target: string };

const MAX_LINKS = 40;

/** The tree below /sys: directories, attribute files, symbolic links. Paths are absolute. */
export class SysfsTree {
  readonly #root: Node & { kind: 'directory' } = { kind: 'directory', children: new Map() };

  /** Makes a directory and its parents; one that exists is left alone. */
  directory(path: string): void {
    this.#directory(path);
  }

  /** Makes an attribute file, and the directories above it. */
  attribute(path: string, attribute: Attribute): void {
    const { parent, name } = this.#place(path);
    parent.children.set(name, { kind: 'attribute', attribute });
  }

  /** Makes a set of attribute files in one directory. */
  attributes(directory: string, attributes: Readonly<Record<string, Attribute>>): void {
    this.directory(directory);
    for (const [name, attribute] of Object.entries(attributes)) this.attribute(`${directory}/${name}`, attribute);
  }

  /** Makes a symbolic link. @param target absolute path */
  link(path: string, target: string): void {
    const { parent, name } = this.#place(path);
    parent.children.set(name, { kind: 'link', target });
  }

  /** Removes a file, a link, or a directory with all it holds. Nothing happens if it is not there. */
  remove(path: string): void {
    const { parent, name } = this.#place(path);
    parent.children.delete(name);
  }

  exists(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  /** @param uid the reader's. Throws ENOENT, EISDIR, EACCES, or what `show` throws. */
  read(path: string, uid: number): string {
    const { attribute } = this.#file(path);
    const allowed = uid === 0 ? (attribute.mode & 0o444) !== 0 : (attribute.mode & 0o004) !== 0;
    if (attribute.show === undefined || !allowed) return fail('EACCES');
    return attribute.show();
  }

  /** @param uid the writer's. Throws ENOENT, EISDIR, EACCES, or what `store` throws. */
  write(path: string, text: string, uid: number): void {
    const { attribute } = this.#file(path);
    const allowed = uid === 0 ? (attribute.mode & 0o222) !== 0 : (attribute.mode & 0o002) !== 0;
    if (attribute.store === undefined || !allowed) return fail('EACCES');
    attribute.store(text.replace(/\n$/, ''));
  }

  /** Names in a directory, sorted. Throws ENOENT, ENOTDIR. */
  list(path: string): string[] {
    const node = this.#find(path)?.node ?? fail('ENOENT');
    return node.kind === 'directory' ? [...node.children.keys()].toSorted() : fail('ENOTDIR');
  }

  /** Throws ENOENT. */
  realpath(path: string): string {
    return this.#find(path)?.path ?? fail('ENOENT');
  }

  #file(path: string): Node & { kind: 'attribute' } {
    const node = this.#find(path)?.node ?? fail('ENOENT');
    return node.kind === 'attribute' ? node : fail('EISDIR');
  }

  /** Walks a path, following links in every component. */
  #find(path: string, depth = 0): { node: Node; path: string } | undefined {
    if (depth > MAX_LINKS) return fail('ELOOP');
    let node: Node = this.#root;
    let walked = '';
    const names = split(path);
    for (const [index, name] of names.entries()) {
      if (node.kind !== 'directory') return fail('ENOTDIR');
      const child = node.children.get(name);
      if (child === undefined) return undefined;
      if (child.kind === 'link') return this.#find([child.target, ...names.slice(index + 1)].join('/'), depth + 1);
      node = child;
      walked += `/${name}`;
    }
    return { node, path: walked === '' ? '/' : walked };
  }

  #directory(path: string): Node & { kind: 'directory' } {
    let node: Node & { kind: 'directory' } = this.#root;
    for (const name of split(path)) {
      let child = node.children.get(name);
      if (child === undefined) node.children.set(name, (child = { kind: 'directory', children: new Map() }));
      if (child.kind !== 'directory') throw new TypeError(`${path}: '${name}' is a ${child.kind}, not a directory`);
      node = child;
    }
    return node;
  }

  #place(path: string): { parent: Node & { kind: 'directory' }; name: string } {
    const names = split(path);
    const name = names.pop();
    if (name === undefined) throw new TypeError('the root of sysfs cannot be replaced');
    return { parent: this.#directory(names.join('/')), name };
  }
}

const split = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.');
