/*
 * IDXD and UACCE character devices for a process that runs on a machine without any: a library that
 * stands before the C library (LD_PRELOAD, or linked) and answers open, close, mmap, munmap, write,
 * poll, ioctl and fstat for the paths it is told of. Behind each DSA path is a software_dsa, behind
 * its portals instruction_emulation; so the whole way from open(2) to the completion record runs at
 * full speed and without hardware. For tests alone.
 *
 *   export INTEL_SVM_FAKE_DEV='/tmp/x/dev/dsa/wq0.0, mode=shared, size=8'
 *   export INTEL_SVM_FAKE_CTL=/tmp/x/ctl
 *   LD_PRELOAD=$(node test/native/double/build.mjs) node test.js
 *
 * The paths need not exist. A call that names one in another way (relative, through a link) or that
 * is none of these (stat by path, readv, io_uring, dup) meets what is there. Everything else that
 * the process opens is left alone.
 *
 * COMMANDS
 * are in the environment variable INTEL_SVM_FAKE_DEV when the process starts; later they are
 * written to the file that INTEL_SVM_FAKE_CTL names and done when it is closed, or given to
 * fake_devices_control.
 *
 *   commands = command { (";" | newline) command }
 *   command  = PATH { "," key "=" value }
 *
 * The first command with a path makes the device; each sets what it names and leaves the rest. One
 * that cannot be read ends the process with status 97 if it is in the environment. Else close(2) of
 * the control file fails with EINVAL and a line on stderr, and what stands before it is done.
 *
 * Any device:
 *   type=dsa|uacce            in the command that makes it; dsa if not said
 *   open=, mmap=, write=, ioctl=
 *                             ERRNO: the call fails with it (EPERM, EBUSY, ...); ERRNO*COUNT: the
 *                             next COUNT times; none: not any more
 *
 * DSA, from the next time on that nobody has the queue open:
 *   mode=dedicated|shared     dedicated
 *   size=ENTRIES              16; at most 64 if dedicated, else open fails with EINVAL
 *   block_on_fault=0|1        0; the BOF flag is valid, and faults are served
 *   present_only=0|1          0; pages that nobody has touched fault too, as on a real device
 *   reorder=0|1               0; completions in random order
 *   max_transfer_size=BYTES   2097152
 *   max_batch_size=COUNT      32
 *
 * DSA, at once:
 *   latency=TIME              0; from submission to completion: a number of ns, or with ns, us, ms
 *                             or s behind it. "never": no completion; the last close throws away
 *                             what is in the queue, as a reset does
 *   state=enabled|disabled    enabled; in a disabled queue portal stores are lost, ENQCMD answers
 *                             retry, open fails with ENXIO, and write aborts the process with a
 *                             message, where the kernel would oops
 *   retries=COUNT             0; so many ENQCMD answer retry, and descriptors of a write EAGAIN
 *   write_limit=COUNT         0; write takes no more descriptors in one call (0: all)
 *   batch_write=0|1           0; write takes BATCH instead of failing with EINVAL
 *
 * UACCE with the ioctls of hisi_qm:
 *   instances=COUNT           8; open fails with EBUSY when so many queues are open
 *   put_q=init|zombie         init; what PUT_Q leaves: the first in newer kernels
 *   mmio_size=, dus_size=     16384, 65536: bytes of the regions
 *   sqe_size=, sq_depth=, cq_depth=
 *                             128, 1024, 1024: answers of QM_SET_QP_INFO
 *   pending=0|1               0; poll says that completions wait
 *   removed=0|1               0; the device is gone: its queues are zombies, their mappings
 *                             inaccessible, and open fails with ENODEV
 *
 * REPORT
 * Reading the control file gives a line "PATH key=value ..." for each device, newest first. The
 * counts begin with the process.
 *   files                     open, or closed and still mapped
 *   mappings, opens           mapped now; opens that succeeded
 *   writes                    DSA: calls of write
 *   accepted, completed, discarded, faults, retries, dropped, lost, error, error_address
 *                             DSA: struct software_dsa_counters
 *   in_flight                 DSA: accepted and not completed
 *   emulated                  DSA: instructions emulated in this process, of all devices
 *   started, put              UACCE: ioctls that succeeded
 *
 * BEHAVIOUR
 * As drivers/dma/idxd/cdev.c: a second open of a dedicated queue is EBUSY; mmap of more than a page
 * is EINVAL, and every offset is the same; the queue is released, and drained, when the descriptor
 * is closed and every mapping gone; in a forked child mmap and write are EPERM, poll is POLLNVAL,
 * and no portal is mapped; write takes whole descriptors, stops at the first that is refused and is
 * posted to a dedicated queue; poll says POLLIN | POLLRDNORM for ever once the error register is
 * valid. As drivers/misc/uacce/uacce.c: the states of a queue and what they refuse, regions by
 * offset, EEXIST, ENXIO. A process that is not forked but started has devices of its own.
 * Descriptors are eventfds underneath: epoll works, but sees POLLOUT as well.
 */
#ifndef SVM_DOUBLE_FAKE_DEVICES_H
#define SVM_DOUBLE_FAKE_DEVICES_H

#include <stddef.h>

/* Carries commands out. Returns 0, or -EINVAL with the reason on stderr. */
int fake_devices_control(const char* commands);

/* Writes the report, NUL-terminated and cut to `size` bytes. Returns the length it would have. */
size_t fake_devices_report(char* out, size_t size);

#endif
