/* The devices there are, and what is said to them: commands and the report (fake_devices.h). */
#define _GNU_SOURCE

#include "fake_device.h"

#include "errno_name.h"
#include "fake_devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Devices are added and never removed: the list may be walked without a lock. */
static _Atomic(struct fake_device*) devices;
static pthread_mutex_t commands_lock = PTHREAD_MUTEX_INITIALIZER;

struct fake_device* fake_device_first(void) {
  return atomic_load(&devices);
}

struct fake_device* fake_device_find(const char* path) {
  struct fake_device* device = atomic_load(&devices);
  while (device != NULL && strcmp(device->path, path) != 0)
    device = device->next;
  return device;
}

void fake_device_set_readable(struct fake_device* device, bool readable) {
  if (atomic_exchange(&device->readable, readable) == readable || device->event < 0) return;
  uint64_t value = 1;
  const ssize_t done = readable ? write(device->event, &value, sizeof value)
                                : read(device->event, &value, sizeof value);
  (void)done;
}

int fake_device_injected_error(struct fake_device* device, enum fake_call call) {
  if (device->injected[call].count == 0) return 0;
  if (device->injected[call].count != UINT64_MAX) device->injected[call].count--;
  return -device->injected[call].error;
}

/* ---- commands ---- */

int fake_parse_number(const char* value, uint64_t* out) {
  char* end;
  if (*value < '0' || *value > '9') return -EINVAL;
  errno = 0;
  const unsigned long long number = strtoull(value, &end, 0);
  if (errno != 0 || *end != '\0') return -EINVAL;
  *out = number;
  return 0;
}

int fake_parse_choice(const char* value, const char* const* choices, unsigned* out) {
  for (unsigned i = 0; choices[i] != NULL; i++) {
    if (strcmp(value, choices[i]) != 0) continue;
    *out = i;
    return 0;
  }
  return -EINVAL;
}

int fake_parse_bool(const char* value, bool* out) {
  static const char* const choices[] = {"0", "1", NULL};
  unsigned choice;
  if (fake_parse_choice(value, choices, &choice) != 0) return -EINVAL;
  *out = choice == 1;
  return 0;
}

static int errno_of(const char* name) {
  for (int error = 1; error < 4096; error++) {
    const char* symbol = svm_errno_name(error);
    if (symbol != NULL && strcmp(symbol, name) == 0) return error;
  }
  return 0;
}

/* ERRNO [*COUNT] | none */
static int set_injected(struct fake_device* device, enum fake_call call, char* value) {
  uint64_t count = UINT64_MAX;
  char* star = strchr(value, '*');
  if (star != NULL) {
    *star = '\0';
    if (fake_parse_number(star + 1, &count) != 0) return -EINVAL;
  }
  const int error = errno_of(value);
  if (error == 0 && strcmp(value, "none") != 0) return -EINVAL;
  device->injected[call].error = error;
  device->injected[call].count = error == 0 ? 0 : count;
  return 0;
}

static int set_value(struct fake_device* device, const char* key, char* value) {
  static const char* const calls[] = {"open", "mmap", "write", "ioctl", NULL};
  unsigned call;
  if (strcmp(key, "type") == 0) return strcmp(value, device->driver->type) == 0 ? 0 : -EINVAL;
  if (fake_parse_choice(key, calls, &call) != 0) return device->driver->set(device, key, value);
  return set_injected(device, (enum fake_call)call, value);
}

static struct fake_device* add_device(const char* path, const struct fake_driver* driver) {
  struct fake_device* device = calloc(1, sizeof *device);
  if (device == NULL) return NULL;
  static unsigned minor;
  device->driver = driver;
  device->path = strdup(path);
  device->number = makedev(240, minor++);
  device->event = -1;
  (void)pthread_mutex_init(&device->lock, NULL);
  if (device->path == NULL || driver->create(device) != 0) {
    free((void*)device->path);
    free(device);
    return NULL;
  }
  device->next = atomic_load(&devices);
  atomic_store(&devices, device);
  return device;
}

static char* trim(char* text) {
  text += strspn(text, " \t\r\n");
  size_t length = strlen(text);
  while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
    text[--length] = '\0';
  return text;
}

static int complain(const char* what, const char* about) {
  (void)fprintf(stderr, "fake_devices: %s: %s\n", what, about);
  return -EINVAL;
}

/* The driver named by the first value of a command, if it is "type"; else the DSA's. */
static const struct fake_driver* driver_for(const char* values) {
  static const struct fake_driver* const drivers[] = {&fake_idxd_driver, &fake_uacce_driver};
  static const char key[] = "type=";
  const char* type = values == NULL ? NULL : strstr(values, key);
  if (type == NULL || (type != values && type[-1] != ',' && type[-1] != ' ')) return drivers[0];
  type += sizeof key - 1;
  for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++) {
    const size_t length = strlen(drivers[i]->type);
    if (strncmp(type, drivers[i]->type, length) == 0 && strchr(", ", type[length]) != NULL) {
      return drivers[i];
    }
  }
  return NULL;
}

/* PATH { "," key "=" value } */
static int run_command(char* command) {
  char* values = strchr(command, ',');
  if (values != NULL) *values++ = '\0';
  const char* path = trim(command);
  if (*path == '\0') return values == NULL ? 0 : complain("no path", values);

  struct fake_device* device = fake_device_find(path);
  if (device == NULL) {
    const struct fake_driver* driver = driver_for(values);
    if (driver == NULL) return complain("unknown type", values);
    device = add_device(path, driver);
    if (device == NULL) return complain("no memory", path);
  }

  char* rest = NULL;
  for (char* pair = values == NULL ? NULL : strtok_r(values, ",", &rest); pair != NULL;
       pair = strtok_r(NULL, ",", &rest)) {
    char* value = strchr(pair, '=');
    if (value == NULL) return complain("no value", pair);
    *value++ = '\0';
    const char* key = trim(pair);
    value = trim(value);
    (void)pthread_mutex_lock(&device->lock);
    const int result = set_value(device, key, value);
    (void)pthread_mutex_unlock(&device->lock);
    if (result == -ENOENT) return complain("unknown key", key);
    if (result < 0) return complain(key, "bad value");
  }
  return 0;
}

__attribute__((visibility("default"))) int fake_devices_control(const char* commands) {
  char* copy = strdup(commands);
  if (copy == NULL) return -EINVAL;
  (void)pthread_mutex_lock(&commands_lock);
  int result = 0;
  char* rest = NULL;
  for (char* command = strtok_r(copy, ";\n", &rest); command != NULL && result == 0;
       command = strtok_r(NULL, ";\n", &rest)) {
    result = run_command(command);
  }
  (void)pthread_mutex_unlock(&commands_lock);
  free(copy);
  return result;
}

__attribute__((visibility("default"))) size_t fake_devices_report(char* out, size_t size) {
  char* text = NULL;
  size_t length = 0;
  FILE* stream = open_memstream(&text, &length);
  if (stream == NULL) return 0;
  for (struct fake_device* device = atomic_load(&devices); device != NULL; device = device->next) {
    (void)pthread_mutex_lock(&device->lock);
    (void)fprintf(stream, "%s files=%u mappings=%u opens=%lu", device->path, device->files,
                  device->mappings, device->opens);
    device->driver->report(device, stream);
    (void)fputc('\n', stream);
    (void)pthread_mutex_unlock(&device->lock);
  }
  (void)fclose(stream);
  if (size > 0) (void)snprintf(out, size, "%s", text);
  free(text);
  return length;
}
