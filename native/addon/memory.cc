// Memory for a device: allocated pages, pins on ordinary buffers, and looks at addresses.

#include <cerrno>
#include <utility>

#include "../shim/memory.h"
#include "addon.h"
#include "errors.h"

namespace intel_svm {

namespace {

// V8 ends the process where it cannot allocate an ArrayBuffer.
constexpr uint64_t kMostPeekedBytes = 1 << 20;

// 4 GiB: the longest ArrayBuffer that every supported Node makes of foreign memory. What is longer
// there is no memory for.
constexpr uint64_t kMostAllocatedBytes = uint64_t{1} << 32;

void LetGo(napi_env, void*, void* hint) {
  delete static_cast<std::shared_ptr<Allocation>*>(hint);
}

}  // namespace

Napi::Value IntelSvm::alloc(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto byteLength = ReadInteger(env, info[0], "byteLength", 0, kMaxSafeInteger);
  if (!byteLength) return {};
  const auto populate = ReadBoolean(env, info[1], "populate");
  if (!populate) return {};
  const auto hugePages = ReadBoolean(env, info[2], "hugePages");
  if (!hugePages) return {};

  size_t mappedLength = *byteLength;
  void* address = nullptr;
  int result = *byteLength > kMostAllocatedBytes
                   ? -ENOMEM
                   : svm_memory_alloc(&mappedLength, *hugePages, &address);
  if (result < 0) {
    ThrowSystemError(env, result, "mmap");
    return {};
  }
  const auto allocation =
      std::make_shared<Allocation>(allocations_, address, *byteLength, mappedLength);
  if (*populate) {
    result = svm_memory_touch(reinterpret_cast<uintptr_t>(address), mappedLength, true);
    if (result < 0) {
      ThrowSystemError(env, result, "mmap");
      return {};
    }
  }

  napi_value buffer = nullptr;
  auto* share = new std::shared_ptr<Allocation>(allocation);
  if (napi_create_external_arraybuffer(env, address, *byteLength, LetGo, share, &buffer) !=
      napi_ok) {
    // Node may or may not call the finalizer now: `share` is left to it, the memory is not.
    (void)allocation->Free();
    ThrowLastError(env);
    return {};
  }
  guard_.GoBeforeMemory(env);
  return {env, buffer};
}

std::shared_ptr<Allocation> IntelSvm::ReadAllocation(Napi::Env env, napi_value value,
                                                     const char* syscall) {
  void* data = nullptr;
  size_t length = 0;
  if (napi_get_arraybuffer_info(env, value, &data, &length) != napi_ok) {
    ThrowInvalidArgType(env, "buffer", "an ArrayBuffer", value);
    return nullptr;
  }
  std::shared_ptr<Allocation> allocation = allocations_->Find(static_cast<uint8_t*>(data), length);
  if (allocation == nullptr || allocation->data() != data) {
    ThrowSystemError(env, -EINVAL, syscall);
    return nullptr;
  }
  return allocation;
}

void IntelSvm::free(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Allocation> allocation = ReadAllocation(env, info[0], "munmap");
  if (allocation == nullptr) return;
  if (allocation->isHeld()) {
    ThrowSystemError(env, -EBUSY, "munmap");
    return;
  }
  // SAFETY: JavaScript loses sight of the memory before it goes.
  if (napi_detach_arraybuffer(env, info[0]) != napi_ok) {
    ThrowInvalidArgValue(env, "buffer", "cannot be detached");
    return;
  }
  const int result = allocation->Free();
  if (result < 0) ThrowSystemError(env, result, "munmap");
}

void IntelSvm::protect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Allocation> allocation = ReadAllocation(env, info[0], "mprotect");
  if (allocation == nullptr) return;
  const auto number = ReadInteger(env, info[1], "protection", SVM_PROT_NONE, SVM_PROT_READ_WRITE);
  if (!number) return;
  const auto protection = static_cast<svm_protection>(*number);
  // SAFETY: a portal's store and the waiter thread read the memory and must not fault.
  const int result = protection == SVM_PROT_NONE && allocation->isRead()
                         ? -EBUSY
                         : allocation->Protect(protection);
  if (result < 0) ThrowSystemError(env, result, "mprotect");
}

Napi::Value IntelSvm::addressOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto memory = memories_.Read(env, info[0], "memory");
  if (!memory) return {};
  return Napi::BigInt::New(env, uint64_t{reinterpret_cast<uintptr_t>(memory->data)});
}

Napi::Value IntelSvm::pin(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto memory = memories_.Read(env, info[0], "memory");
  if (!memory) return {};
  const std::shared_ptr<Allocation> allocation = allocations_->Find(memory->data, memory->length);
  const uint64_t number = ++lastPin_;
  if (allocation != nullptr) {
    pins_.emplace(number, Pin{Hold(allocation, Hold::Kind::kPin), {}});
  } else {
    const Napi::Object buffer(env, memory->buffer);
    pins_.emplace(number, Pin{Hold(), Napi::Persistent(buffer)});
    // Another addon may have lent the memory, and take it back when the environment ends.
    guard_.GoBefore(env, memory->buffer);
  }
  return Napi::Number::New(env, static_cast<double>(number));
}

void IntelSvm::unpin(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto number = ReadInteger(env, info[0], "pin", 0, kMaxSafeInteger);
  if (!number) return;
  if (pins_.erase(*number) == 0) ThrowSystemError(env, -EINVAL, "unpin");
}

void IntelSvm::touch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto address = ReadAddress(env, info[0], "address");
  if (!address) return;
  const auto byteLength = ReadInteger(env, info[1], "byteLength", 0, kMaxSafeInteger);
  if (!byteLength) return;
  const auto write = ReadBoolean(env, info[2], "write");
  if (!write) return;
  const int result = svm_memory_touch(*address, *byteLength, *write);
  if (result < 0) ThrowSystemError(env, result, "touch");
}

Napi::Value IntelSvm::peek(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto address = ReadAddress(env, info[0], "address");
  if (!address) return {};
  const auto byteLength = ReadInteger(env, info[1], "byteLength", 0, kMostPeekedBytes);
  if (!byteLength) return {};

  void* data = nullptr;
  napi_value buffer = nullptr;
  napi_value bytes = nullptr;
  if (napi_create_arraybuffer(env, *byteLength, &data, &buffer) != napi_ok) {
    ThrowLastError(env);
    return {};
  }
  const int result = svm_memory_peek(*address, data, *byteLength);
  if (result < 0) {
    ThrowSystemError(env, result, "peek");
    return {};
  }
  if (napi_create_typedarray(env, napi_uint8_array, *byteLength, buffer, 0, &bytes) != napi_ok) {
    ThrowLastError(env);
    return {};
  }
  return {env, bytes};
}

bool IntelSvm::IsReadWrite(const Memory& memory) const {
  const std::shared_ptr<Allocation> allocation = allocations_->Find(memory.data, memory.length);
  return allocation == nullptr || allocation->protection() == SVM_PROT_READ_WRITE;
}

}  // namespace intel_svm
