#define _POSIX_C_SOURCE 200112L

#include "check.h"
#include "cpu_features.h"
#include "waiter.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000U

static uint64_t now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

/* What a device writes, and when. */
struct completion {
  uint64_t delay_ns;
  unsigned int body;
  uint8_t status;
  struct svm_stop_flag* stop;
};

static void* complete(void* argument) {
  struct completion* record = argument;
  const struct timespec delay = {.tv_nsec = (long)record->delay_ns};
  if (delay.tv_nsec > 0) (void)nanosleep(&delay, NULL);
  if (record->stop != NULL) {
    svm_stop_raise(record->stop);
    return NULL;
  }
  record->body = 4711;
  __atomic_store_n(&record->status, 0x83, __ATOMIC_RELEASE);
  return NULL;
}

/* The byte comes while the wait spins, and after it went to sleep. */
static void check_byte_of_other_thread(enum svm_wait_method method) {
  static const uint64_t delays[] = {0, 200000, 10 * (uint64_t)MS};
  for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
    struct completion record = {.delay_ns = delays[i]};
    pthread_t device;
    CHECK(pthread_create(&device, NULL, complete, &record) == 0);
    CHECK(svm_wait_byte(&record.status, UINT64_MAX, method, NULL) == 0x83);
    /* What was written before the byte. */
    CHECK(record.body == 4711);
    CHECK(pthread_join(device, NULL) == 0);
  }
}

static void check_timeout(enum svm_wait_method method) {
  static const uint64_t timeouts[] = {0, 1, 1000, 100000, MS, 5 * (uint64_t)MS};
  const uint8_t never = 0, already = 1;
  for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
    const uint64_t start = now_ns();
    CHECK(svm_wait_byte(&never, timeouts[i], method, NULL) == 0);
    CHECK(now_ns() - start >= timeouts[i]);
    CHECK(svm_wait_byte(&already, timeouts[i], method, NULL) == 1);
  }
}

static void check_stop(enum svm_wait_method method) {
  static const uint64_t delays[] = {0, 200000, 10 * (uint64_t)MS};
  for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
    const uint8_t never = 0, already = 1;
    struct svm_stop_flag stop = {0};
    struct completion record = {.delay_ns = delays[i], .stop = &stop};
    pthread_t stopper;
    CHECK(pthread_create(&stopper, NULL, complete, &record) == 0);
    CHECK(svm_wait_byte(&never, UINT64_MAX, method, &stop) == 0);
    CHECK(pthread_join(stopper, NULL) == 0);
    /* It stays raised; a byte that is there counts more. */
    CHECK(svm_wait_byte(&never, UINT64_MAX, method, &stop) == 0);
    CHECK(svm_wait_byte(&already, UINT64_MAX, method, &stop) == 1);
  }
}

/* A wait of 200 ms for nothing leaves the core to others nearly all the time. */
static void check_long_wait_sleeps(void) {
  const uint8_t never = 0;
  const clock_t before = clock();
  CHECK(svm_wait_byte(&never, 200 * (uint64_t)MS, SVM_WAIT_PAUSE, NULL) == 0);
  CHECK((double)(clock() - before) / CLOCKS_PER_SEC < 0.1);
}

int main(void) {
  /* A wait that does not end must not hold up the tests for ever. */
  (void)alarm(60);

  struct svm_cpu_features features;
  const bool waitpkg = svm_get_cpu_features(&features) == 0 && features.waitpkg;
  const uint8_t already = 1;
  svm_pause();

  CHECK(svm_wait_best_method() == (waitpkg ? SVM_WAIT_UMWAIT : SVM_WAIT_PAUSE));
  CHECK(svm_wait_byte(&already, 0, (enum svm_wait_method)99, NULL) == -EINVAL);
  static const enum svm_wait_method methods[] = {SVM_WAIT_PAUSE, SVM_WAIT_TPAUSE, SVM_WAIT_UMWAIT};
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    if (methods[i] != SVM_WAIT_PAUSE && !waitpkg) {
      CHECK(svm_wait_byte(&already, 0, methods[i], NULL) == -EINVAL);
      continue;
    }
    check_byte_of_other_thread(methods[i]);
    check_timeout(methods[i]);
    check_stop(methods[i]);
  }
  check_long_wait_sleeps();
  return failures != 0;
}
