// Device files: open, close, ioctl, write, poll. Numbers of descriptors come from JavaScript; those
// that this environment did not open are refused, so that no number makes the addon close or write
// what belongs to Node.

#include <cerrno>
#include <climits>
#include <cstring>

#include "../shim/char_device.h"
#include "../shim/portal.h"
#include "addon.h"
#include "arguments.h"
#include "errors.h"

namespace intel_svm {

namespace {

// The argument's size stands in 14 bits of a request (uapi/asm-generic/ioctl.h).
constexpr size_t kMostArgumentBytes = (1 << 14) - 1;

size_t ArgumentBytes(uint64_t request) {
  return request >> 16 & kMostArgumentBytes;
}

}  // namespace

std::optional<int> IntelSvm::ReadDescriptor(Napi::Env env, napi_value value, const char* syscall) {
  const auto fd = ReadInteger(env, value, "fd", 0, INT_MAX);
  if (!fd) return std::nullopt;
  const int descriptor = static_cast<int>(*fd);
  if (descriptors_.count(descriptor) == 0) {
    ThrowSystemError(env, -EBADF, syscall);
    return std::nullopt;
  }
  return descriptor;
}

Napi::Value IntelSvm::open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto path = ReadPath(env, info[0], "path");
  if (!path) return {};
  const int result = svm_device_open(path->c_str());
  if (result < 0) {
    ThrowSystemError(env, result, "open");
    return {};
  }
  descriptors_.insert(result);
  return Napi::Number::New(env, result);
}

void IntelSvm::close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto fd = ReadDescriptor(env, info[0], "close");
  if (!fd) return;
  // Closed whatever the kernel answers.
  descriptors_.erase(*fd);
  const int result = svm_device_close(*fd);
  if (result < 0) ThrowSystemError(env, result, "close");
}

Napi::Value IntelSvm::ioctl(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto fd = ReadDescriptor(env, info[0], "ioctl");
  if (!fd) return {};
  const auto request = ReadInteger(env, info[1], "request", 0, UINT32_MAX);
  if (!request) return {};

  // The kernel gets a copy, as large as any request's argument can be: whatever the driver writes
  // for a request that does not tell its size, it does not write over JavaScript's memory.
  alignas(8) unsigned char copy[kMostArgumentBytes + 1] = {};
  Memory argument{};
  const bool given = !info[2].IsUndefined();
  if (given) {
    const auto memory = memories_.Read(env, info[2], "argument");
    if (!memory) return {};
    if (memory->length > kMostArgumentBytes) {
      ThrowOutOfRange(env, "argument.byteLength", 0, kMostArgumentBytes);
      return {};
    }
    argument = *memory;
    if (argument.length < ArgumentBytes(*request) || !IsReadWrite(argument)) {
      ThrowSystemError(env, -EFAULT, "ioctl");
      return {};
    }
    if (argument.length > 0) std::memcpy(copy, argument.data, argument.length);
  }

  const int result = svm_device_ioctl(*fd, *request, given ? copy : nullptr);
  if (result < 0) {
    ThrowSystemError(env, result, "ioctl");
    return {};
  }
  if (argument.length > 0) std::memcpy(argument.data, copy, argument.length);
  return Napi::Number::New(env, result);
}

Napi::Value IntelSvm::write(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto fd = ReadDescriptor(env, info[0], "write");
  if (!fd) return {};
  const auto bytes = memories_.Read(env, info[1], "bytes");
  if (!bytes) return {};
  // As idxd answers (drivers/dma/idxd/cdev.c, idxd_cdev_write).
  const bool whole = bytes->length % SVM_DESCRIPTOR_SIZE == 0;
  const int64_t result =
      whole ? svm_device_write(*fd, bytes->data, bytes->length / SVM_DESCRIPTOR_SIZE) : -EINVAL;
  if (result < 0) {
    ThrowSystemError(env, static_cast<int>(result), "write");
    return {};
  }
  return Napi::Number::New(env, static_cast<double>(result * SVM_DESCRIPTOR_SIZE));
}

Napi::Value IntelSvm::poll(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto fd = ReadDescriptor(env, info[0], "poll");
  if (!fd) return {};
  const auto events = ReadInteger(env, info[1], "events", 0, SHRT_MAX);
  if (!events) return {};
  const int result = svm_device_poll(*fd, static_cast<short>(*events), 0);
  if (result < 0) {
    ThrowSystemError(env, result, "poll");
    return {};
  }
  return Napi::Number::New(env, result);
}

}  // namespace intel_svm
