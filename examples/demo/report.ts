import { styleText } from 'node:util';
import type { Connection, SvmDevice, WorkQueue } from 'intel-svm';
import type { BadAddressReport } from './bad-address.js';
import type { PageRequests } from './fault-log.js';
import type { FileReport } from './file-job.js';
import type { PasidReport } from './pasid-life.js';

/** Where the demo runs. */
export interface Scene {
  readonly backend: Connection['backend'];
  readonly reason: string;
  /** Which kernel interface binds: the functions of intel-svm.h, or open(2) of the device node. */
  readonly bindsBy: 'intel_svm_bind_mm' | 'open';
  readonly device: Pick<SvmDevice, 'path' | 'accelerator' | 'bdf' | 'numaNode'>;
  readonly queue: Pick<WorkQueue, 'mode' | 'size' | 'maxTransferSize' | 'blockOnFault' | 'submissionMode'>;
}

/** Everything that the demo found out: what `--json` prints. */
export interface DemoReport extends Scene {
  /** Whether every copy and CRC of the device is what Node computes. */
  readonly ok: boolean;
  readonly files: readonly FileReport[];
  readonly badAddress: BadAddressReport;
  readonly pasid: PasidReport;
}

/** The report as one JSON document; addresses as hexadecimal strings. */
export function toJson(report: DemoReport): string {
  return JSON.stringify(report, (_key, value: unknown) => (typeof value === 'bigint' ? hex(value) : value), 2);
}

const COLUMN = 16;

/** Writes the report for people: a label, then what there is to say. */
export class Printer {
  readonly #stream: NodeJS.WritableStream;

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
  }

  scene({ backend, reason, bindsBy, device, queue }: Scene): void {
    this.#heading('Shared virtual memory at work', '');
    this.#row(
      'backend',
      backend === 'mock' ? 'mock: no hardware, a fake Linux in memory' : 'linux: the kernel of this machine',
    );
    this.#row('because', reason);
    this.#row('bound by', bindsBy === 'open' ? 'open(2) of the device node' : 'intel_svm_bind_mm()');
    this.#row('device', `${device.path} (${device.accelerator}${device.bdf === undefined ? '' : ` at ${device.bdf}`})`);
    this.#row(
      'work queue',
      `${queue.mode}, ${queue.size} entries, ${count(queue.maxTransferSize)} bytes a descriptor, submission by ${queue.submissionMode}`,
    );
    this.#row(
      'page faults',
      queue.blockOnFault ? 'the device waits for the page' : 'the device stops, the program resumes',
    );
  }

  file(report: FileReport, { bindsBy, queue }: Scene): void {
    this.#heading(report.path);
    this.#row('size', `${count(report.bytes)} bytes`);
    const resumed = queue.blockOnFault ? '' : `, ${count(report.resumed)} of them to resume after a page fault`;
    this.#row('descriptors', `${count(report.descriptors)}${resumed}`);
    if (bindsBy === 'open') this.#row('page requests', 'this kernel serves them and reports none');
    else this.#requests('page requests', report.pageRequests);
    this.#verdict('copy', report.copyIsEqual, report.copyIsEqual ? 'equal to the file' : 'differs from the file');
    const { device, node } = report.crc;
    this.#verdict('CRC-32C', device === node, `${hex(device, 8)} by the device, ${hex(node, 8)} by Node`);
  }

  badAddress({ address, status, symbol, meaning, faultAddress, faultCallbacks }: BadAddressReport): void {
    this.#heading('A pointer to freed memory');
    this.#row('address', hex(address));
    this.#row('status', `${hex(status, 2)} ${symbol}: ${meaning}`);
    this.#row('fault address', hex(faultAddress));
    this.#requests('fault callback', faultCallbacks);
  }

  pasid({ pasid, hardwarePasid, whileBound, afterUnbind, boundAgain }: PasidReport): void {
    this.#heading('Life of a PASID');
    this.#row(
      'bind',
      hardwarePasid === undefined ? `${pasid}, a handle: this kernel does not tell the number` : `${pasid}`,
    );
    this.#row('while bound', whileBound);
    this.#row('after unbind', afterUnbind);
    this.#row('bound again', boundAgain === pasid ? `${boundAgain}, the same number` : `${boundAgain}`);
  }

  result(ok: boolean): void {
    const stream = this.#stream;
    const text = ok ? 'The device did what Node computes.' : 'The device did NOT do what Node computes.';
    stream.write(`\n${styleText(ok ? 'green' : 'red', text, { stream })}\n`);
  }

  #heading(text: string, before = '\n'): void {
    const stream = this.#stream;
    stream.write(`${before}${styleText('bold', text, { stream })}\n`);
  }

  #row(label: string, text: string): void {
    const stream = this.#stream;
    stream.write(`  ${styleText('dim', label.padEnd(COLUMN), { stream })}${text}\n`);
  }

  #verdict(label: string, good: boolean, text: string): void {
    this.#row(label, styleText(good ? 'green' : 'red', text, { stream: this.#stream }));
  }

  #requests(label: string, { count: total, first }: PageRequests): void {
    this.#row(label, total === 0 ? 'none' : count(total));
    for (const { address, rights, response } of first) {
      this.#row('', `${hex(address)} ${rights} ${response === 0 ? 'success' : `refused (${response})`}`);
    }
    if (total > first.length) this.#row('', `and ${count(total - first.length)} more`);
  }
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}

function hex(value: number | bigint, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}
