import { SingleBar } from 'cli-progress';

/** Files from this size on get a bar; shorter ones are done before it could be read. Bytes. */
const LONG = 16 * 2 ** 20;

/** Tells how much of a file is done. */
export interface Progress {
  update(bytes: number): void;
  stop(): void;
}

/** A bar for a long file on a terminal; nothing otherwise. It leaves no trace when it stops. */
export function startProgress(stream: NodeJS.WritableStream, name: string, total: number): Progress {
  const isTerminal = 'isTTY' in stream && stream.isTTY === true;
  if (!isTerminal || total < LONG) return { update: () => undefined, stop: () => undefined };
  const bar = new SingleBar({
    stream,
    format: `${name} [{bar}] {percentage}% of ${Math.round(total / 2 ** 20)} MiB, {eta_formatted} left`,
    clearOnComplete: true,
    hideCursor: true,
  });
  bar.start(total, 0);
  return { update: (bytes) => bar.update(bytes), stop: () => bar.stop() };
}
