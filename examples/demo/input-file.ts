import { open, type FileHandle } from 'node:fs/promises';
import { getSystemErrorMap } from 'node:util';

/** A file that cannot be read: what is wrong with it, in words. */
export class InputError extends Error {}

/** A file to read piece by piece, so that it need not fit in memory. */
export class InputFile {
  readonly path: string;
  /** Bytes when it was opened. */
  readonly size: number;
  readonly #handle: FileHandle;

  private constructor(path: string, size: number, handle: FileHandle) {
    this.path = path;
    this.size = size;
    this.#handle = handle;
  }

  /** @throws InputError where there is no such file, or it cannot be read, or it is none */
  static async open(path: string): Promise<InputFile> {
    const handle = await open(path).catch((error: unknown) => refuse(path, error));
    try {
      const stat = await handle.stat();
      if (stat.isDirectory()) throw new InputError(`${path}: is a directory`);
      if (!stat.isFile()) throw new InputError(`${path}: is not a regular file`);
      return new InputFile(path, stat.size, handle);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Fills a buffer with the next bytes. @returns their number, less than the buffer holds only at the end of the file */
  async read(buffer: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < buffer.byteLength) {
      const { bytesRead } = await this.#handle
        .read(buffer, filled, buffer.byteLength - filled)
        .catch((error: unknown) => refuse(this.path, error));
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

function refuse(path: string, error: unknown): never {
  const errno = error instanceof Error && 'errno' in error ? Number(error.errno) : undefined;
  const message = errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1];
  if (message === undefined) throw error;
  throw new InputError(`${path}: ${message}`, { cause: error });
}
