/* The fake devices through the shim: what a program sees that opens them. */
#define _GNU_SOURCE

#include "char_device.h"
#include "check.h"
#include "fake_devices.h"
#include "job.h"
#include "portal.h"
#include "uacce.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define DEDICATED "/nowhere/dsa/wq0.0"
#define SHARED "/nowhere/dsa/wq0.1"
#define UACCE "/nowhere/hisi_zip-0"

static void control(const char* commands) {
  CHECK(fake_devices_control(commands) == 0);
}

/* A number of the report. */
static unsigned long reported(const char* path, const char* key) {
  char report[4096], wanted[64];
  CHECK(fake_devices_report(report, sizeof report) < sizeof report);
  (void)snprintf(wanted, sizeof wanted, " %s=", key);
  const char* line = strstr(report, path);
  const char* found = line == NULL ? NULL : strstr(line, wanted);
  CHECK(found != NULL);
  return found == NULL ? 0 : strtoul(found + strlen(wanted), NULL, 0);
}

static int open_device(const char* path) {
  const int fd = svm_device_open(path);
  CHECK(fd >= 0);
  return fd;
}

static struct svm_portal map_portal(int fd) {
  struct svm_portal portal = {0};
  CHECK(svm_device_map(fd, PAGE, 0, &portal.base) == 0);
  return portal;
}

/* In a child, so that what it does to itself does not matter. Returns its wait status. */
static int in_child(void (*body)(int fd), int fd) {
  const pid_t child = fork();
  if (child == 0) {
    body(fd);
    _exit(failures);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  return status;
}

/* ---- commands ---- */

static void check_commands(void) {
  static const char* const bad[] = {
      DEDICATED ",size",         DEDICATED ",size=",
      DEDICATED ",size=x",       DEDICATED ",size=0",
      DEDICATED ",size=-1",      DEDICATED ",colour=red",
      DEDICATED ",mode=both",    DEDICATED ",open=EWHAT",
      DEDICATED ",open=EPERM*x", DEDICATED ",latency=1year",
      DEDICATED ",reorder=2",    DEDICATED ",type=uacce",
      DEDICATED ",state=",       ",size=1",
      "/nowhere/new,type=dax",   UACCE ",mode=shared",
      UACCE ",put_q=maybe",      UACCE ",pending=2",
  };
  (void)fflush(stderr);
  const int errors = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  CHECK(dup2(null, STDERR_FILENO) == STDERR_FILENO);
  size_t accepted = 0;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (fake_devices_control(bad[i]) != -EINVAL) accepted++;
  }
  CHECK(dup2(errors, STDERR_FILENO) == STDERR_FILENO && close(errors) == 0 && close(null) == 0);
  CHECK(accepted == 0);
  control("");
  control(" ;\n; ");
  control(" " DEDICATED " , size = 16 ;\n " SHARED ", latency = 5us, latency=0\n");
}

/* ---- idxd ---- */

static void check_open(void) {
  struct stat status;
  const int fd = open_device(DEDICATED);
  CHECK(fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && major(status.st_rdev) != 0);
  CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(svm_device_open(DEDICATED) == -EBUSY);
  CHECK(svm_device_ioctl(fd, 0x6400, NULL) == -ENOTTY);
  CHECK(svm_device_close(fd) == 0);
  CHECK(svm_device_close(fd) == -EBADF);
  CHECK(reported(DEDICATED, "files") == 0);

  const int one = open_device(SHARED), two = open_device(SHARED);
  CHECK(reported(SHARED, "files") == 2 && reported(SHARED, "opens") == 2);
  CHECK(svm_device_close(one) == 0 && svm_device_close(two) == 0);

  control(DEDICATED ",open=EBUSY*2");
  CHECK(svm_device_open(DEDICATED) == -EBUSY && svm_device_open(DEDICATED) == -EBUSY);
  CHECK(svm_device_close(open_device(DEDICATED)) == 0);
  control(DEDICATED ",open=EOPNOTSUPP");
  for (int i = 0; i < 5; i++)
    CHECK(svm_device_open(DEDICATED) == -EOPNOTSUPP);
  control(DEDICATED ",open=none,state=disabled");
  CHECK(svm_device_open(DEDICATED) == -ENXIO);
  control(DEDICATED ",state=enabled");
  CHECK(svm_device_close(open_device(DEDICATED)) == 0);

  /* What the process has besides stays as it is. */
  CHECK(svm_device_open("/nowhere/dsa/wq0.7") == -ENOENT);
  const int null = svm_device_open("/dev/null");
  CHECK(null >= 0 && fstat(null, &status) == 0 && status.st_rdev == makedev(1, 3));
  CHECK(svm_device_close(null) == 0);
}

static void check_map(void) {
  const int fd = open_device(DEDICATED);
  void* address = NULL;
  CHECK(svm_device_map(fd, 2 * PAGE, 0, &address) == -EINVAL);
  CHECK(svm_device_map(fd, 0, 0, &address) == -EINVAL);
  control(DEDICATED ",mmap=EPERM");
  CHECK(svm_device_map(fd, PAGE, 0, &address) == -EPERM);
  control(DEDICATED ",mmap=none");
  CHECK(address == NULL);

  struct svm_portal portal = map_portal(fd), other = {0};
  /* Any offset is the same; as often as wanted. */
  CHECK(svm_device_map(fd, PAGE, 7 * PAGE, &other.base) == 0 && other.base != portal.base);
  CHECK(reported(DEDICATED, "mappings") == 2);

  struct job job;
  unsigned char from[100], to[100];
  memset(from, 0x5a, sizeof from);
  for (int i = 0; i < 200; i++) {
    memset(to, 0, sizeof to);
    job_memmove(&job, to, from, sizeof from);
    CHECK(svm_portal_movdir64b(i % 2 == 0 ? &portal : &other, &job.descriptor, 1) == 0);
    CHECK(job_wait(&job) == DSA_COMP_SUCCESS);
    CHECK(memcmp(from, to, sizeof from) == 0);
  }

  /* The mapping holds the file: a dedicated queue stays taken until it is gone as well. */
  CHECK(svm_device_close(fd) == 0);
  CHECK(svm_device_unmap(other.base, PAGE) == 0);
  CHECK(svm_device_open(DEDICATED) == -EBUSY);
  job_init(&job, DSA_OPCODE_NOOP, 0);
  CHECK(svm_portal_movdir64b(&portal, &job.descriptor, 1) == 0);
  CHECK(job_wait(&job) == DSA_COMP_SUCCESS);
  CHECK(svm_device_unmap(portal.base, PAGE) == 0);
  CHECK(svm_device_close(open_device(DEDICATED)) == 0);
  CHECK(reported(DEDICATED, "completed") == 201 && reported(DEDICATED, "dropped") == 0);
}

static void check_enqcmd(void) {
  control(SHARED ",mode=shared,size=4,latency=never");
  const int fd = open_device(SHARED);
  struct svm_portal portal = map_portal(fd);
  static struct job jobs[6];
  static struct dsa_hw_desc row[6];
  for (size_t i = 0; i < 6; i++) {
    job_init(&jobs[i], DSA_OPCODE_NOOP, 0);
    row[i] = jobs[i].descriptor;
  }
  CHECK(svm_portal_enqcmd(&portal, row, 6) == 4);
  CHECK(svm_portal_enqcmd(&portal, row, 1) == 0);
  CHECK(reported(SHARED, "in_flight") == 4);
  control(SHARED ",latency=0");
  for (size_t i = 0; i < 4; i++)
    CHECK(job_wait(&jobs[i]) == DSA_COMP_SUCCESS);

  control(SHARED ",retries=2");
  CHECK(svm_portal_enqcmd(&portal, row, 1) == 0 && svm_portal_enqcmd(&portal, row, 1) == 0);
  CHECK(svm_portal_enqcmd(&portal, row, 1) == 1);
  control(SHARED ",state=disabled");
  CHECK(svm_portal_enqcmd(&portal, row, 1) == 0);
  control(SHARED ",state=enabled");
  CHECK(svm_device_close(fd) == 0 && svm_device_unmap(portal.base, PAGE) == 0);
  CHECK(reported(SHARED, "emulated") > 0 && reported(SHARED, "in_flight") == 0);
}

static void check_write(const char* path) {
  const int fd = open_device(path);
  static struct job jobs[4];
  static struct dsa_hw_desc row[4];
  for (size_t i = 0; i < 4; i++) {
    job_init(&jobs[i], DSA_OPCODE_NOOP, 0);
    row[i] = jobs[i].descriptor;
    row[i].pasid = 7;
  }
  CHECK(svm_device_write(fd, row, 4) == 4);
  for (size_t i = 0; i < 4; i++)
    CHECK(job_wait(&jobs[i]) == DSA_COMP_SUCCESS);
  /* Whole descriptors alone, of any alignment. */
  static unsigned char unaligned[129];
  memcpy(unaligned + 1, row, 128);
  CHECK(write(fd, unaligned + 1, 63) == 0);
  CHECK(write(fd, unaligned + 1, 100) == 64);
  CHECK(write(fd, unaligned + 1, 0) == 0);

  CHECK(svm_device_write(fd, (const void*)8, 1) == -EFAULT);
  row[2].opcode = DSA_OPCODE_BATCH;
  CHECK(svm_device_write(fd, row, 4) == 2);
  CHECK(svm_device_write(fd, row + 2, 1) == -EINVAL);
  row[2].opcode = DSA_OPCODE_NOOP;
  row[3].completion_addr += 8;
  row[3].flags = 0;
  CHECK(svm_device_write(fd, row, 4) == 3);
  CHECK(svm_device_write(fd, row + 3, 1) == -EINVAL);

  char commands[128];
  (void)snprintf(commands, sizeof commands, "%s,write=EAGAIN*1,write_limit=2", path);
  control(commands);
  CHECK(svm_device_write(fd, row, 3) == -EAGAIN);
  CHECK(svm_device_write(fd, row, 3) == 2);
  (void)snprintf(commands, sizeof commands, "%s,write_limit=0", path);
  control(commands);
  CHECK(svm_device_close(fd) == 0);
}

static void check_write_to_full(void) {
  control(SHARED ",size=4,latency=never,retries=1");
  static struct dsa_hw_desc row[3];
  const int fd = open_device(SHARED);
  CHECK(svm_device_write(fd, row, 3) == -EAGAIN);
  CHECK(svm_device_write(fd, row, 3) == 3);
  CHECK(svm_device_write(fd, row, 3) == 1);
  CHECK(svm_device_write(fd, row, 3) == -EAGAIN);
  CHECK(svm_device_close(fd) == 0);
  control(SHARED ",latency=0");
}

static void write_to_disabled(int unused) {
  (void)unused;
  struct job job;
  const int fd = open_device(DEDICATED);
  control(DEDICATED ",state=disabled");
  job_init(&job, DSA_OPCODE_NOOP, 0);
  (void)freopen("/dev/null", "w", stderr);
  (void)svm_device_write(fd, &job.descriptor, 1);
}

/* Where the kernel would oops. */
static void check_write_to_disabled(void) {
  const int status = in_child(write_to_disabled, -1);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void check_error_register(void) {
  const int fd = open_device(SHARED);
  CHECK(svm_device_poll(fd, POLLIN, 0) == 0);
  CHECK(svm_device_poll(fd, POLLIN | POLLOUT, 5) == 0);
  struct job job;
  job_init(&job, 0x33, 0);
  job.descriptor.flags = 0;
  CHECK(svm_device_write(fd, &job.descriptor, 1) == 1);
  CHECK(svm_device_poll(fd, POLLIN | POLLRDNORM, -1) == (POLLIN | POLLRDNORM));
  CHECK(svm_device_poll(fd, POLLOUT, 0) == 0);
  CHECK(reported(SHARED, "error") == DSA_COMP_BAD_OPCODE);

  const int watch = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK(epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event) == 0);
  CHECK(epoll_wait(watch, &event, 1, 0) == 1 && event.events == EPOLLIN);
  CHECK(close(watch) == 0 && svm_device_close(fd) == 0);

  /* For ever. */
  const int again = open_device(SHARED);
  CHECK(svm_device_poll(again, POLLIN, 0) == POLLIN);
  /* Beside other descriptors. */
  int ends[2];
  CHECK(pipe(ends) == 0);
  struct pollfd entries[] = {
      {.fd = ends[0], .events = POLLIN}, {.fd = again, .events = POLLIN}, {.fd = -1}};
  CHECK(poll(entries, 3, -1) == 1 && entries[0].revents == 0 && entries[1].revents == POLLIN);
  CHECK(close(ends[1]) == 0 && poll(entries, 3, -1) == 2 && entries[0].revents == POLLHUP);
  CHECK(close(ends[0]) == 0 && svm_device_close(again) == 0);
}

static void use_inherited(int fd) {
  struct job job;
  void* address = NULL;
  job_init(&job, DSA_OPCODE_NOOP, 0);
  CHECK(svm_device_map(fd, PAGE, 0, &address) == -EPERM);
  CHECK(svm_device_write(fd, &job.descriptor, 1) == -EPERM);
  CHECK(svm_device_poll(fd, POLLIN, -1) == POLLNVAL);
  CHECK(svm_device_open(DEDICATED) == -EBUSY);
  CHECK(svm_device_close(fd) == 0);
  CHECK(svm_device_close(fd) == -EBADF);
#if !defined(__SANITIZE_THREAD__) /* It allows no thread in a child of several threads. */
  /* Another process may use a shared queue. */
  const int own = open_device(SHARED);
  CHECK(svm_device_write(own, &job.descriptor, 1) == 1 && job_wait(&job) == DSA_COMP_SUCCESS);
  CHECK(svm_device_close(own) == 0);
#endif
}

static struct svm_portal inherited;

static void store_to_inherited_portal(int fd) {
  (void)fd;
  (void)freopen("/dev/null", "w", stderr);
  *(volatile unsigned char*)inherited.base = 0;
}

static void check_fork(void) {
  const int fd = open_device(DEDICATED);
  inherited = map_portal(fd);
  CHECK(in_child(use_inherited, fd) == 0);
  CHECK(in_child(store_to_inherited_portal, fd) != 0);
  /* The parent's is as it was. */
  struct job job;
  job_init(&job, DSA_OPCODE_NOOP, 0);
  CHECK(svm_portal_movdir64b(&inherited, &job.descriptor, 1) == 0);
  CHECK(job_wait(&job) == DSA_COMP_SUCCESS);
  CHECK(svm_device_unmap(inherited.base, PAGE) == 0 && svm_device_close(fd) == 0);
}

/* 1000 in flight: close ends when all of them are done. */
static void check_close_in_flight(void) {
  enum { COUNT = 1000 };
  control(SHARED ",size=1000,latency=5ms");
  const int fd = open_device(SHARED);
  static struct job jobs[COUNT];
  static struct dsa_hw_desc row[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    job_init(&jobs[i], DSA_OPCODE_NOOP, 0);
    row[i] = jobs[i].descriptor;
  }
  CHECK(svm_device_write(fd, row, COUNT) == COUNT);
  CHECK(jobs[COUNT - 1].record.status == 0);
  CHECK(svm_device_close(fd) == 0);
  for (size_t i = 0; i < COUNT; i++)
    CHECK(jobs[i].record.status == DSA_COMP_SUCCESS);

  /* One that hangs lets go. */
  control(SHARED ",latency=never");
  const unsigned long before = reported(SHARED, "discarded");
  const int hung = open_device(SHARED);
  CHECK(svm_device_write(hung, row, COUNT) == COUNT);
  CHECK(svm_device_close(hung) == 0);
  CHECK(reported(SHARED, "discarded") == before + COUNT);
  control(SHARED ",size=4,latency=0");
}

/* ---- uacce ---- */

static void check_uacce_states(void) {
  const int fd = open_device(UACCE);
  uint16_t id = 99;
  struct svm_hisi_qp_info info;
  CHECK(svm_hisi_qm_set_qp_ctx(fd, 2, &id) == 0 && id == 0);
  CHECK(svm_hisi_qm_set_qp_ctx(fd, 3, &id) == -EINVAL);
  CHECK(svm_hisi_qm_get_qp_info(fd, &info) == 0);
  CHECK(info.sqe_size == 128 && info.sq_depth == 1024 && info.cq_depth == 1024);
  CHECK(svm_device_ioctl(fd, 0x5702, NULL) == -EINVAL);
  CHECK(svm_device_ioctl(fd, 0xc004480a, (void*)8) == -EFAULT);

  CHECK(svm_uacce_put_queue(fd) == 0);
  CHECK(svm_uacce_start_queue(fd) == 0);
  CHECK(svm_uacce_start_queue(fd) == -EINVAL);
  CHECK(svm_uacce_put_queue(fd) == 0);
  CHECK(svm_uacce_start_queue(fd) == 0);
  control(UACCE ",put_q=zombie,ioctl=EPERM*1");
  CHECK(svm_uacce_put_queue(fd) == -EPERM);
  CHECK(svm_uacce_put_queue(fd) == 0);
  CHECK(svm_uacce_put_queue(fd) == -ENXIO && svm_uacce_start_queue(fd) == -ENXIO);
  CHECK(svm_hisi_qm_get_qp_info(fd, &info) == -ENXIO);
  void* address;
  CHECK(svm_device_map(fd, PAGE, 0, &address) == -ENXIO);
  CHECK(svm_device_close(fd) == 0);
  control(UACCE ",put_q=init");
  CHECK(reported(UACCE, "started") == 2 && reported(UACCE, "put") == 3);
}

static void check_uacce_regions(void) {
  const int fd = open_device(UACCE), other = open_device(UACCE);
  void *mmio, *dus, *again;
  CHECK(svm_device_map(fd, PAGE, 2 * PAGE, &mmio) == -EINVAL);
  CHECK(svm_device_map(fd, 5 * PAGE, 0, &mmio) == -EINVAL);
  CHECK(svm_device_map(fd, PAGE, PAGE, &dus) == -EINVAL);
  CHECK(svm_device_map(fd, 2 * PAGE, 0, &mmio) == 0);
  CHECK(svm_device_map(fd, 16 * PAGE, PAGE, &dus) == 0);
  CHECK(svm_device_map(fd, 2 * PAGE, 0, &again) == -EEXIST);
  CHECK(svm_device_map(other, 16 * PAGE, PAGE, &again) == 0);
  memset(dus, 1, (size_t)16 * PAGE);
  CHECK(*(unsigned char*)again == 0);
  CHECK(svm_device_unmap(mmio, 2 * PAGE) == 0);
  CHECK(svm_device_map(fd, 4 * PAGE, 0, &mmio) == 0);
  uint16_t id;
  CHECK(svm_hisi_qm_set_qp_ctx(other, 0, &id) == 0 && id == 1);

  CHECK(svm_device_poll(fd, POLLIN, 0) == 0);
  control(UACCE ",pending=1");
  CHECK(svm_device_poll(fd, POLLIN | POLLRDNORM, -1) == (POLLIN | POLLRDNORM));
  control(UACCE ",pending=0");
  CHECK(svm_device_poll(fd, POLLIN, 0) == 0);

  /* The device goes: zombies, never an error bit, and nothing to be opened. */
  control(UACCE ",pending=1,removed=1");
  CHECK(svm_device_poll(fd, POLLIN, 0) == 0);
  CHECK(svm_uacce_start_queue(other) == -ENXIO);
  CHECK(svm_device_open(UACCE) == -ENODEV);
  CHECK(svm_device_close(fd) == 0 && svm_device_close(other) == 0);
  CHECK(svm_device_unmap(mmio, 4 * PAGE) == 0 && svm_device_unmap(dus, 16 * PAGE) == 0);
  CHECK(svm_device_unmap(again, 16 * PAGE) == 0);
  CHECK(reported(UACCE, "files") == 0);
  control(UACCE ",removed=0,pending=0,instances=2");
  const int one = open_device(UACCE), two = open_device(UACCE);
  CHECK(svm_device_open(UACCE) == -EBUSY);
  CHECK(svm_device_close(one) == 0 && svm_device_close(two) == 0);
}

/* ---- the control file ---- */

static void check_control_file(const char* path) {
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  static const char commands[] = DEDICATED ",open=EACCES*1\n";
  CHECK(write(file, commands, sizeof commands - 1) == sizeof commands - 1);
  CHECK(close(file) == 0);
  CHECK(svm_device_open(DEDICATED) == -EACCES);
  CHECK(access(path, F_OK) != 0);

  char report[8192] = "";
  file = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(read(file, report, sizeof report - 1) > 0);
  CHECK(close(file) == 0);
  CHECK(strstr(report, DEDICATED " files=0 ") != NULL);
  CHECK(strstr(report, UACCE " files=0 ") != NULL);
}

/* ---- several threads ---- */

static void* open_and_close(void* argument) {
  (void)argument;
  for (int i = 0; i < 50; i++) {
    struct job job;
    const int fd = open_device(SHARED);
    struct svm_portal portal = map_portal(fd);
    job_init(&job, DSA_OPCODE_NOOP, 0);
    while (svm_portal_enqcmd(&portal, &job.descriptor, 1) == 0)
      (void)sched_yield();
    CHECK(svm_device_close(fd) == 0);
    CHECK(svm_device_unmap(portal.base, PAGE) == 0);
    /* Released, so drained of this process's work. */
    CHECK(job_wait(&job) == DSA_COMP_SUCCESS);
  }
  return NULL;
}

static void check_threads(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    CHECK(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0);
  for (int i = 0; i < 4; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(reported(SHARED, "files") == 0 && reported(SHARED, "mappings") == 0);
}

int main(int argc, char** argv) {
  (void)alarm(120);
  /* Devices that the environment made, in the TypeScript test. */
  if (argc > 1) check_control_file(argv[1]);

  control(DEDICATED ",mode=dedicated,size=16;" SHARED ",mode=shared,size=4;" UACCE ",type=uacce");
  check_commands();
  check_open();
  check_map();
  check_enqcmd();
  check_write(DEDICATED);
  control(SHARED ",size=64");
  check_write(SHARED);
  check_write_to_full();
  check_write_to_disabled();
  check_error_register();
  check_fork();
  check_close_in_flight();
  check_uacce_states();
  check_uacce_regions();
  check_threads();
  return failures != 0;
}
