#define _GNU_SOURCE

#include "software_dsa.h"

#include "dsa_engine.h"
#include "guarded_access.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#define PAGE 4096U
#define LINES (PAGE / 64)
#define WORDS 8
#define MOST_PORTALS 16

/* Descriptors carried out between two looks at the portals, and the reach of `reorder`. */
#define BURST 32

/*
 * An idle device spins, then leaves the CPU to whoever wants it, then sleeps, and the longer it is
 * idle the longer: tests share the CPU with others.
 */
#define IDLE_SPIN_NS 20000U
#define IDLE_YIELD_NS 500000U
#define IDLE_SHORT_NS 20000000U
#define SHORT_SLEEP_NS 50000U
#define LONG_SLEEP_NS 500000U

/* Error register: a descriptor that found no room. Made up, as the public headers give no code. */
#define ERROR_DROPPED 0x51

/* A line that fills before the one in front of it is a new beginning after this long. */
#define RESTART_NS 100000U

struct job {
  struct dsa_hw_desc descriptor;
  uint64_t taken_ns;
};

struct portal {
  _Atomic(_Atomic uint64_t*) page; /* NULL where the entry is free */
  unsigned int next;               /* the device's: line looked at next */
  uint64_t stray_since;            /* the device's: when a line out of turn was seen, or 0 */
};

struct software_dsa {
  struct software_dsa_config config;
  struct dsa_engine engine;
  pthread_t thread;

  _Atomic uint64_t latency_ns;
  atomic_bool enabled, stopping, discarding;
  _Atomic uint64_t refusals;

  /* Looks that the device began to take at its portals and its inbox. */
  _Atomic uint64_t rounds;
  /* Entries in use: an entry is free again before the completion record is written, as whoever sees
   * the record may submit again. */
  atomic_uint occupied;
  /* In flight: until after the record is written. */
  atomic_uint unfinished;

  struct portal portals[MOST_PORTALS];
  pthread_mutex_t portals_lock; /* for mapping and unmapping alone */

  /* What was submitted, until the device fetches it. Held by `inbox_lock`. */
  pthread_mutex_t inbox_lock;
  struct job* inbox;
  atomic_uint inbox_count;

  /* The device's own: a ring of `size` jobs that wait for their time. */
  struct job* queue;
  unsigned int queue_first, queue_count;
  uint64_t random;

  _Atomic uint64_t accepted, completed, discarded, faults, retries, dropped, lost;
  _Atomic uint8_t error;
  _Atomic uint64_t error_address;
};

static uint64_t now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void sleep_ns(uint64_t ns) {
  const struct timespec time = {.tv_nsec = (long)ns};
  (void)nanosleep(&time, NULL);
}

static void pause_cpu(void) {
  /* SAFETY: no operands. */
  __asm__ volatile("pause");
}

static void count(_Atomic uint64_t* counter) {
  atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Latches the first error, as the hardware's register does. */
static void report_error(void* context, uint8_t error, uint64_t address) {
  struct software_dsa* device = context;
  if (atomic_load(&device->error) != 0) return;
  atomic_store(&device->error_address, address);
  atomic_store(&device->error, error);
  if (device->config.on_error != NULL) device->config.on_error(device->config.context);
}

/* Takes an entry of the queue, if there is one. */
static bool occupy(struct software_dsa* device) {
  unsigned int occupied = atomic_load(&device->occupied);
  do {
    if (occupied >= device->config.size) return false;
  } while (!atomic_compare_exchange_weak(&device->occupied, &occupied, occupied + 1));
  atomic_fetch_add(&device->unfinished, 1);
  count(&device->accepted);
  return true;
}

/* Takes an entry for a descriptor that was told, not asked, if it can; or notes what became of it.
 */
static bool accepts_post(struct software_dsa* device) {
  if (!atomic_load(&device->enabled)) {
    count(&device->lost);
    return false;
  }
  if (!device->config.shared && occupy(device)) return true;
  count(&device->dropped);
  report_error(device, ERROR_DROPPED, 0);
  return false;
}

/* ---- the device's thread ---- */

/* Appends to the queue, which has room: the entry is occupied. */
static void enqueue(struct software_dsa* device, const struct job* job) {
  const unsigned int last = (device->queue_first + device->queue_count) % device->config.size;
  device->queue[last] = *job;
  device->queue_count++;
}

/*
 * The lines of a portal are stored to by an instruction that ThreadSanitizer does not see, and by
 * mmap(2), of which it believes that it writes after it has returned. So it is kept away from them,
 * and told what happened: svm_portal_movdir64b releases the line.
 */
#if defined(__SANITIZE_THREAD__)
#define NOT_SANITIZED __attribute__((no_sanitize("thread")))
#define ACQUIRE(address) __tsan_acquire(address)
#else
#define NOT_SANITIZED
#define ACQUIRE(address) (void)(address)
#endif

/* All words of a line ORed: zero while it is empty. */
NOT_SANITIZED static uint64_t peek_line(_Atomic uint64_t* line) {
  uint64_t any = 0;
  for (size_t i = 0; i < WORDS; i++)
    any |= atomic_load_explicit(&line[i], memory_order_acquire);
  return any;
}

/* Copies the next line out and clears it. Returns false if it is empty. */
NOT_SANITIZED static bool take_line(struct portal* portal, _Atomic uint64_t* page,
                                    struct job* job) {
  _Atomic uint64_t* line = page + portal->next * WORDS;
  if (peek_line(line) == 0) return false;
  ACQUIRE(line);
  uint64_t words[WORDS];
  for (size_t i = 0; i < WORDS; i++) {
    words[i] = atomic_load_explicit(&line[i], memory_order_acquire);
    atomic_store_explicit(&line[i], 0, memory_order_relaxed);
  }
  memcpy(&job->descriptor, words, sizeof job->descriptor);
  portal->next = (portal->next + 1) % LINES;
  portal->stray_since = 0;
  return true;
}

/*
 * The next line is empty. Another that is not is either early, or the submitter began anew: then it
 * stays so, and the device goes there.
 */
static void follow_new_beginning(struct portal* portal, _Atomic uint64_t* page) {
  for (unsigned int i = 1; i < LINES; i++) {
    const unsigned int line = (portal->next + i) % LINES;
    if (peek_line(page + line * WORDS) == 0) continue;
    const uint64_t now = now_ns();
    if (portal->stray_since == 0) {
      portal->stray_since = now;
    } else if (now - portal->stray_since >= RESTART_NS) {
      portal->next = line;
      portal->stray_since = 0;
    }
    return;
  }
  portal->stray_since = 0;
}

/* Takes what the portal holds. Returns whether that was anything. */
static bool take_from_portal(struct software_dsa* device, struct portal* portal) {
  _Atomic uint64_t* page = atomic_load(&portal->page);
  if (page == NULL) return false;
  struct job job;
  uint64_t now = 0;
  unsigned int taken = 0;
  for (; taken < LINES && take_line(portal, page, &job); taken++) {
    if (!accepts_post(device)) continue;
    if (now == 0) now = now_ns();
    job.taken_ns = now;
    enqueue(device, &job);
  }
  if (taken == 0) follow_new_beginning(portal, page);
  return taken > 0;
}

static bool take_from_inbox(struct software_dsa* device) {
  if (atomic_load(&device->inbox_count) == 0) return false;
  (void)pthread_mutex_lock(&device->inbox_lock);
  const unsigned int fetched = atomic_load(&device->inbox_count);
  for (unsigned int i = 0; i < fetched; i++)
    enqueue(device, &device->inbox[i]);
  atomic_store(&device->inbox_count, 0);
  (void)pthread_mutex_unlock(&device->inbox_lock);
  return fetched > 0;
}

static uint64_t next_random(struct software_dsa* device) {
  uint64_t x = device->random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  device->random = x;
  return x;
}

/* Nothing moves past a DRAIN, which waits for what came before it. */
static void shuffle(struct software_dsa* device, struct job* jobs, unsigned int number) {
  unsigned int first = 0;
  for (unsigned int i = 0; i < number; i++) {
    if (jobs[i].descriptor.opcode == DSA_OPCODE_DRAIN) {
      first = i + 1;
      continue;
    }
    const unsigned int other = first + (unsigned int)(next_random(device) % (i - first + 1));
    const struct job job = jobs[i];
    jobs[i] = jobs[other];
    jobs[other] = job;
  }
}

/* Moves what is due from the queue to `jobs`, at most BURST. */
static unsigned int take_due(struct software_dsa* device, struct job* jobs) {
  const uint64_t latency = atomic_load(&device->latency_ns);
  if (device->queue_count == 0 || latency == SOFTWARE_DSA_NEVER) return 0;
  const uint64_t now = latency == 0 ? 0 : now_ns();
  unsigned int number = 0;
  while (number < BURST && device->queue_count > 0) {
    const struct job* job = &device->queue[device->queue_first];
    if (latency != 0 && now - job->taken_ns < latency) break;
    jobs[number++] = *job;
    device->queue_first = (device->queue_first + 1) % device->config.size;
    device->queue_count--;
  }
  if (device->config.reorder) shuffle(device, jobs, number);
  return number;
}

static void carry_out(struct software_dsa* device, const struct job* job) {
  struct dsa_outcome outcome;
  dsa_engine_run(&device->engine, &job->descriptor, &outcome);
  const uint8_t code = outcome.record.status & (uint8_t)~DSA_COMP_STATUS_WRITE;
  if (code == DSA_COMP_PAGE_FAULT_NOBOF || code == DSA_COMP_PAGE_FAULT_IR ||
      code == DSA_COMP_BATCH_PAGE_FAULT) {
    count(&device->faults);
  }
  count(&device->completed);
  atomic_fetch_sub(&device->occupied, 1);
  dsa_engine_complete(&device->engine, &outcome);
  atomic_fetch_sub(&device->unfinished, 1);
}

static void discard_queue(struct software_dsa* device) {
  const unsigned int number = device->queue_count;
  atomic_fetch_add(&device->discarded, number);
  atomic_fetch_sub(&device->occupied, number);
  atomic_fetch_sub(&device->unfinished, number);
  device->queue_count = 0;
}

static void rest(uint64_t idle_ns) {
  if (idle_ns < IDLE_SPIN_NS) {
    pause_cpu();
  } else if (idle_ns < IDLE_YIELD_NS) {
    (void)sched_yield();
  } else {
    sleep_ns(idle_ns < IDLE_SHORT_NS ? SHORT_SLEEP_NS : LONG_SLEEP_NS);
  }
}

static void* run(void* argument) {
  struct software_dsa* device = argument;
  uint64_t busy_ns = now_ns();
  for (;;) {
    /* Before the look: who stops the device finds everything taken that was there. */
    const bool stopping = atomic_load(&device->stopping);
    atomic_fetch_add(&device->rounds, 1);
    bool busy = take_from_inbox(device);
    for (size_t i = 0; i < MOST_PORTALS; i++)
      busy |= take_from_portal(device, &device->portals[i]);

    if (atomic_load(&device->discarding)) discard_queue(device);
    struct job jobs[BURST];
    const unsigned int due = take_due(device, jobs);
    for (unsigned int i = 0; i < due; i++)
      carry_out(device, &jobs[i]);

    if (busy || due > 0) {
      busy_ns = 0;
      continue;
    }
    if (stopping && device->queue_count == 0) return NULL;
    const uint64_t now = now_ns();
    if (busy_ns == 0) busy_ns = now;
    rest(now - busy_ns);
  }
}

/* ---- its callers ---- */

struct software_dsa_config software_dsa_default_config(void) {
  return (struct software_dsa_config){
      .size = 16,
      .max_transfer_size = 2U << 20,
      .max_batch_size = 32,
  };
}

static int start_thread(struct software_dsa* device) {
  /* The process's signals are not the device's; its own faults are. */
  sigset_t blocked, before;
  (void)sigfillset(&blocked);
  (void)sigdelset(&blocked, SIGSEGV);
  (void)sigdelset(&blocked, SIGBUS);
  (void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
  const int error = pthread_create(&device->thread, NULL, run, device);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -error;
}

static void free_device(struct software_dsa* device) {
  if (device->engine.pagemap >= 0) (void)close(device->engine.pagemap);
  free(device->inbox);
  free(device->queue);
  free(device);
}

int software_dsa_create(const struct software_dsa_config* config, struct software_dsa** out) {
  if (config->size == 0 || (!config->shared && config->size > LINES)) return -EINVAL;
  guarded_access_install();

  struct software_dsa* device = calloc(1, sizeof *device);
  if (device == NULL) return -ENOMEM;
  device->config = *config;
  device->engine = (struct dsa_engine){
      .block_on_fault = config->block_on_fault,
      .present_only = config->present_only,
      .max_transfer_size = config->max_transfer_size,
      .max_batch_size = config->max_batch_size,
      .report = report_error,
      .context = device,
      .pagemap = -1,
  };
  atomic_init(&device->latency_ns, config->latency_ns);
  atomic_init(&device->enabled, true);
  (void)pthread_mutex_init(&device->portals_lock, NULL);
  (void)pthread_mutex_init(&device->inbox_lock, NULL);
  device->random = 0x9e3779b97f4a7c15;
  device->inbox = calloc(config->size, sizeof *device->inbox);
  device->queue = calloc(config->size, sizeof *device->queue);

  int result = device->inbox == NULL || device->queue == NULL ? -ENOMEM : 0;
  if (result == 0 && config->present_only) {
    device->engine.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (device->engine.pagemap < 0) result = -errno;
  }
  if (result == 0) result = start_thread(device);
  if (result < 0) {
    free_device(device);
    return result;
  }
  *out = device;
  return 0;
}

/* Waits until the device has looked at everything that is there now. */
static void wait_for_look(const struct software_dsa* device) {
  /* The look under way may have passed by already: the one after it is a whole one, and over when
   * the next begins. */
  const uint64_t rounds = atomic_load(&device->rounds);
  while (atomic_load(&device->rounds) < rounds + 2)
    sleep_ns(10000);
}

void software_dsa_drain(struct software_dsa* device) {
  wait_for_look(device);
  if (atomic_load(&device->latency_ns) == SOFTWARE_DSA_NEVER) {
    atomic_store(&device->discarding, true);
    wait_for_look(device);
    atomic_store(&device->discarding, false);
  }
  while (atomic_load(&device->unfinished) > 0)
    sleep_ns(20000);
}

void software_dsa_destroy(struct software_dsa* device) {
  software_dsa_drain(device);
  atomic_store(&device->stopping, true);
  (void)pthread_join(device->thread, NULL);
  for (size_t i = 0; i < MOST_PORTALS; i++) {
    void* page = atomic_load(&device->portals[i].page);
    if (page != NULL) (void)munmap(page, PAGE);
  }
  (void)pthread_mutex_destroy(&device->portals_lock);
  (void)pthread_mutex_destroy(&device->inbox_lock);
  free_device(device);
}

static struct portal* find_portal(struct software_dsa* device, const void* page) {
  for (size_t i = 0; i < MOST_PORTALS; i++) {
    if (atomic_load(&device->portals[i].page) == page) return &device->portals[i];
  }
  return NULL;
}

int software_dsa_map_portal(struct software_dsa* device, void** page) {
  (void)pthread_mutex_lock(&device->portals_lock);
  int result = -ENOMEM;
  struct portal* portal = find_portal(device, NULL);
  if (portal != NULL) {
    void* mapping = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) {
      result = -errno;
    } else {
      /* VM_DONTCOPY: a forked child has no portal. */
      (void)madvise(mapping, PAGE, MADV_DONTFORK);
      portal->next = 0;
      portal->stray_since = 0;
      atomic_store(&portal->page, mapping);
      *page = mapping;
      result = 0;
    }
  }
  (void)pthread_mutex_unlock(&device->portals_lock);
  return result;
}

int software_dsa_unmap_portal(struct software_dsa* device, void* page) {
  (void)pthread_mutex_lock(&device->portals_lock);
  struct portal* portal = page == NULL ? NULL : find_portal(device, page);
  if (portal != NULL) {
    wait_for_look(device);
    atomic_store(&portal->page, NULL);
    /* The device may still hold the address. */
    wait_for_look(device);
    (void)munmap(page, PAGE);
  }
  (void)pthread_mutex_unlock(&device->portals_lock);
  return portal == NULL ? -EINVAL : 0;
}

/* Uses up one of the refusals that a test has asked for. */
static bool refuses(struct software_dsa* device) {
  uint64_t refusals = atomic_load(&device->refusals);
  while (refusals > 0) {
    if (atomic_compare_exchange_weak(&device->refusals, &refusals, refusals - 1)) return true;
  }
  return false;
}

/* Hands a descriptor to the device's thread. It has its entry. */
static void deliver(struct software_dsa* device, const void* descriptor) {
  struct job job = {.taken_ns = now_ns()};
  memcpy(&job.descriptor, descriptor, sizeof job.descriptor);
  (void)pthread_mutex_lock(&device->inbox_lock);
  const unsigned int number = atomic_load(&device->inbox_count);
  device->inbox[number] = job;
  atomic_store(&device->inbox_count, number + 1);
  (void)pthread_mutex_unlock(&device->inbox_lock);
}

bool software_dsa_submit(struct software_dsa* device, const void* descriptor) {
  const bool open = device->config.shared && atomic_load(&device->enabled);
  if (refuses(device) || !open || !occupy(device)) {
    count(&device->retries);
    return false;
  }
  deliver(device, descriptor);
  return true;
}

void software_dsa_post(struct software_dsa* device, const void* descriptor) {
  if (accepts_post(device)) deliver(device, descriptor);
}

void software_dsa_refuse(struct software_dsa* device, uint64_t number) {
  atomic_store(&device->refusals, number);
}

void software_dsa_set_enabled(struct software_dsa* device, bool enabled) {
  atomic_store(&device->enabled, enabled);
}

void software_dsa_set_latency(struct software_dsa* device, uint64_t latency_ns) {
  atomic_store(&device->latency_ns, latency_ns);
}

uint32_t software_dsa_in_flight(const struct software_dsa* device) {
  return atomic_load(&device->unfinished);
}

void software_dsa_get_counters(const struct software_dsa* device,
                               struct software_dsa_counters* out) {
  *out = (struct software_dsa_counters){
      .accepted = atomic_load(&device->accepted),
      .completed = atomic_load(&device->completed),
      .discarded = atomic_load(&device->discarded),
      .faults = atomic_load(&device->faults),
      .retries = atomic_load(&device->retries),
      .dropped = atomic_load(&device->dropped),
      .lost = atomic_load(&device->lost),
      .error = atomic_load(&device->error),
      .error_address = atomic_load(&device->error_address),
  };
}
