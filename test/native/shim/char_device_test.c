/* Character devices by what every Linux has: /dev/null, zero, full, ptmx, and pipes for write and
 * poll. */
#define _GNU_SOURCE

#include "char_device.h"
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DESCRIPTOR 64

static char directory[] = "/tmp/intel-svm-XXXXXX";

/* A name in the test's directory; the text lasts until the next call. */
static const char* in_directory(const char* name) {
  static char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static int result_of_open(const char* path) {
  const int fd = svm_device_open(path);
  if (fd >= 0) (void)close(fd);
  return fd;
}

/* As somebody whom a file's mode can refuse. */
static void check_open_refused_by_mode(const char* path) {
  const pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && setuid(65534) != 0) _exit(2);
    _exit(svm_device_open(path) == -EACCES ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void check_descriptors_run_out(void) {
  struct rlimit before, none;
  CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
  none = before;
  none.rlim_cur = 0;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK(svm_device_open("/dev/null") == -EMFILE);
  CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

static void open_test(void) {
  const int fd = svm_device_open("/dev/null");
  CHECK(fd >= 0);
  CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
  CHECK(svm_device_close(fd) == 0);
  CHECK(svm_device_close(fd) == -EBADF);
  CHECK(svm_device_close(-1) == -EBADF);

  const int file = open(in_directory("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  CHECK(file >= 0 && write(file, "abc", 3) == 3 && close(file) == 0);
  CHECK(mkfifo(in_directory("fifo"), 0600) == 0);
  CHECK(symlink("loop", in_directory("loop")) == 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", directory);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(bind(listener, (struct sockaddr*)&address, sizeof address) == 0);
  char long_name[PATH_MAX + 2];
  memset(long_name, 'x', sizeof long_name - 1);
  long_name[sizeof long_name - 1] = '\0';

  CHECK(result_of_open(in_directory("nothing")) == -ENOENT);
  CHECK(result_of_open(in_directory("file/below")) == -ENOTDIR);
  CHECK(result_of_open(directory) == -EISDIR);
  CHECK(result_of_open(in_directory("file")) == -ENODEV);
  CHECK(result_of_open(in_directory("fifo")) == -ENODEV);
  CHECK(result_of_open(in_directory("socket")) == -ENXIO);
  CHECK(result_of_open(in_directory("loop")) == -ELOOP);
  CHECK(result_of_open(long_name) == -ENAMETOOLONG);
  check_open_refused_by_mode(in_directory("file"));
  check_descriptors_run_out();

  /* What is refused is closed again: the lowest free descriptor is still the same. */
  CHECK(result_of_open("/dev/null") == fd + 1);
  CHECK(close(listener) == 0);
}

static void ioctl_test(void) {
  const int null = svm_device_open("/dev/null");
  CHECK(svm_device_ioctl(null, TIOCGWINSZ, NULL) == -ENOTTY);
  CHECK(svm_device_close(null) == 0);
  CHECK(svm_device_ioctl(null, TIOCGWINSZ, NULL) == -EBADF);

  const int ptmx = svm_device_open("/dev/ptmx");
  if (ptmx < 0) return;
  struct winsize size = {.ws_row = 24, .ws_col = 80}, got = {0};
  CHECK(svm_device_ioctl(ptmx, TIOCSWINSZ, &size) == 0);
  CHECK(svm_device_ioctl(ptmx, TIOCGWINSZ, &got) == 0);
  CHECK(got.ws_row == 24 && got.ws_col == 80);
  CHECK(svm_device_ioctl(ptmx, TIOCGWINSZ, NULL) == -EFAULT);
  CHECK(svm_device_close(ptmx) == 0);
}

static void map_test(void) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const int zero = svm_device_open("/dev/zero");
  const int null = svm_device_open("/dev/null");
  const int read_only = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  int mark;
  void* address = &mark;

  CHECK(svm_device_map(zero, 0, 0, &address) == -EINVAL);
  CHECK(svm_device_map(zero, page, 1, &address) == -EINVAL);
  CHECK(svm_device_map(zero, page, UINT64_MAX, &address) == -EOVERFLOW);
  CHECK(svm_device_map(zero, page, UINT64_MAX / 2 + 1, &address) == -EOVERFLOW);
  CHECK(svm_device_map(zero, SIZE_MAX / 2, 0, &address) == -ENOMEM);
  CHECK(svm_device_map(null, page, 0, &address) == -ENODEV);
  CHECK(svm_device_map(read_only, page, 0, &address) == -EACCES);
  CHECK(svm_device_map(-1, page, 0, &address) == -EBADF);
  CHECK(address == &mark);

  CHECK(svm_device_map(zero, 2 * page, 0, &address) == 0);
  unsigned char* bytes = address;
  CHECK((uintptr_t)bytes % page == 0);
  CHECK(bytes[0] == 0);
  bytes[2 * page - 1] = 7;

  /* Shared: a child writes what we see. */
  const pid_t child = fork();
  if (child == 0) {
    bytes[0] = (unsigned char)(bytes[2 * page - 1] + 1);
    _exit(0);
  }
  CHECK(waitpid(child, NULL, 0) == child);
  CHECK(bytes[0] == 8);

  CHECK(svm_device_unmap(bytes + 1, page) == -EINVAL);
  CHECK(svm_device_unmap(bytes, 0) == -EINVAL);
  CHECK(svm_device_unmap(bytes, 2 * page) == 0);
  CHECK(close(read_only) == 0);
  CHECK(svm_device_close(null) == 0);
  CHECK(svm_device_close(zero) == 0);
}

static void ignore_signal(int number) {
  (void)number;
}

/* SIGALRM every 2 ms, and no system call that it interrupts is restarted. */
static void interrupt_calls(bool on) {
  struct sigaction action = {.sa_handler = ignore_signal};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  const struct itimerval often = {.it_interval = {.tv_usec = 2000}, .it_value = {.tv_usec = 2000}};
  const struct itimerval never = {.it_interval = {.tv_usec = 0}};
  CHECK(setitimer(ITIMER_REAL, on ? &often : &never, NULL) == 0);
}

static void* empty_pipe(void* argument) {
  const int fd = *(const int*)argument;
  static char bytes[1 << 16];
  sigset_t all;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
  (void)usleep(20000);
  CHECK(read(fd, bytes, sizeof bytes) == sizeof bytes);
  return NULL;
}

static void write_test(void) {
  enum { CAPACITY = 1 << 16, MORE = 2000 };
  static unsigned char descriptors[MORE * DESCRIPTOR];
  memset(descriptors, 0x5a, sizeof descriptors);

  const int null = svm_device_open("/dev/null");
  const int full = svm_device_open("/dev/full");
  CHECK(svm_device_write(null, descriptors, MORE) == MORE);
  CHECK(svm_device_write(null, descriptors, 0) == 0);
  /* More than there is memory. */
  CHECK(svm_device_write(null, descriptors, SIZE_MAX / DESCRIPTOR + 1) == -EFAULT);
  CHECK(svm_device_write(null, descriptors, SIZE_MAX) == -EFAULT);
  CHECK(svm_device_write(full, descriptors, 1) == -ENOSPC);
  CHECK(svm_device_close(full) == 0);
  CHECK(svm_device_close(null) == 0);
  CHECK(svm_device_write(null, descriptors, 1) == -EBADF);

  /* A pipe takes what fits, then nothing. */
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  CHECK(fcntl(ends[1], F_SETPIPE_SZ, CAPACITY) == CAPACITY);
  CHECK(svm_device_write(ends[1], NULL, 1) == -EFAULT);
  CHECK(svm_device_write(ends[1], descriptors, MORE) == CAPACITY / DESCRIPTOR);
  CHECK(svm_device_write(ends[1], descriptors, MORE) == -EAGAIN);

  /* EINTR before the first byte is nobody's business. */
  CHECK(fcntl(ends[1], F_SETFL, 0) == 0);
  pthread_t reader;
  CHECK(pthread_create(&reader, NULL, empty_pipe, &ends[0]) == 0);
  interrupt_calls(true);
  CHECK(svm_device_write(ends[1], descriptors, 1) == 1);
  interrupt_calls(false);
  CHECK(pthread_join(reader, NULL) == 0);

  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
  CHECK(close(ends[0]) == 0);
  CHECK(svm_device_write(ends[1], descriptors, 1) == -EPIPE);
  CHECK(close(ends[1]) == 0);
}

/* Half a descriptor does not count: a file may grow to one and a half, then no more. */
static void check_partial_descriptor(void) {
  unsigned char descriptors[4 * DESCRIPTOR] = {0};
  struct rlimit before, limit;
  const int file = open(in_directory("file"), O_WRONLY | O_TRUNC | O_CLOEXEC);
  CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
  limit = before;
  limit.rlim_cur = DESCRIPTOR + DESCRIPTOR / 2;
  CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK(svm_device_write(file, descriptors, 4) == 1);
  CHECK(svm_device_write(file, descriptors, 4) == -EFBIG);
  CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(close(file) == 0);
}

static void poll_test(void) {
  const int null = svm_device_open("/dev/null");
  CHECK(svm_device_poll(null, POLLIN | POLLOUT, -1) == (POLLIN | POLLOUT));
  CHECK(svm_device_poll(null, POLLOUT, 0) == POLLOUT);
  CHECK(svm_device_close(null) == 0);
  CHECK(svm_device_poll(null, POLLIN, 0) == POLLNVAL);
  CHECK(svm_device_poll(-1, POLLIN, -1) == -EBADF);

  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  CHECK(svm_device_poll(ends[0], POLLIN, 0) == 0);
  CHECK(svm_device_poll(ends[0], POLLIN, 5) == 0);
  interrupt_calls(true);
  CHECK(svm_device_poll(ends[0], POLLIN, -1) == 0);
  interrupt_calls(false);
  CHECK(write(ends[1], "x", 1) == 1);
  CHECK(svm_device_poll(ends[0], POLLIN, -1) == POLLIN);
  CHECK(close(ends[1]) == 0);
  CHECK(svm_device_poll(ends[0], 0, -1) == POLLHUP);
  CHECK(close(ends[0]) == 0);
}

int main(void) {
  CHECK(mkdtemp(directory) != NULL);
  open_test();
  ioctl_test();
  map_test();
  write_test();
  check_partial_descriptor();
  poll_test();

  static const char* const names[] = {"file", "fifo", "loop", "socket"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    CHECK(unlink(in_directory(names[i])) == 0);
  }
  CHECK(rmdir(directory) == 0);
  return failures != 0;
}
