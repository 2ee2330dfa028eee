#include "region.h"

#include <cerrno>
#include <sys/mman.h>
#include <utility>

#include "../shim/char_device.h"
#include "addon.h"
#include "arguments.h"
#include "errors.h"

namespace intel_svm {

// include/uapi/asm-generic/mman-common.h: not in the C libraries before v5.14.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace {

// The lower half is a random number, which no other addon's objects bear.
napi_type_tag TagOf(const RegionTable& table) {
  return {0x5f9a1c3be2d74806, reinterpret_cast<uintptr_t>(&table)};
}

void LetGo(napi_env, void* data, void*) {
  delete static_cast<std::shared_ptr<Region>*>(data);
}

}  // namespace

Region::Region(std::shared_ptr<RegionTable> table, void* address, size_t length)
    : table_(std::move(table)), address_(address), length_(length), portal_{address, 0} {
  table_->insert(this);
}

Region::~Region() {
  if (isMapped()) (void)Unmap();
}

int Region::CheckPortal() const {
  if (length_ < SVM_PORTAL_SIZE) return -EINVAL;
  // Device memory is mapped from the start and answers EINVAL, as does every mapping to a kernel
  // before v5.14; EFAULT stands for SIGBUS (madvise(2)), as beyond the end of what is mapped.
  const bool faults = madvise(address_, SVM_PORTAL_SIZE, MADV_POPULATE_WRITE) != 0;
  return faults && errno != EINVAL ? -EFAULT : 0;
}

void Region::HoldRing(const std::shared_ptr<Allocation>& ring) {
  if (rings_.find(ring.get()) == rings_.end()) {
    rings_.emplace(ring.get(), Hold(ring, Hold::Kind::kReader));
  }
}

int Region::Unmap() {
  if (!isMapped()) return -EINVAL;
  table_->erase(this);
  const int result = svm_device_unmap(address_, length_);
  address_ = nullptr;
  portal_.base = nullptr;
  rings_.clear();
  return result;
}

napi_value Region::Wrap(Napi::Env env, const std::shared_ptr<Region>& region) {
  napi_value object = nullptr;
  const napi_type_tag tag = TagOf(*region->table_);
  auto* share = new std::shared_ptr<Region>(region);
  if (napi_create_object(env, &object) != napi_ok ||
      napi_type_tag_object(env, object, &tag) != napi_ok ||
      napi_wrap(env, object, share, LetGo, nullptr, nullptr) != napi_ok) {
    delete share;
    ThrowLastError(env);
    return nullptr;
  }
  return object;
}

std::shared_ptr<Region> Region::Read(Napi::Env env, const RegionTable& table, napi_value value) {
  const napi_type_tag tag = TagOf(table);
  napi_valuetype type = napi_undefined;
  bool tagged = false;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object ||
      napi_check_object_type_tag(env, value, &tag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(env, value, &data) != napi_ok) {
    ThrowInvalidArgType(env, "region", "a region of mmap", value);
    return nullptr;
  }
  return *static_cast<std::shared_ptr<Region>*>(data);
}

Napi::Value IntelSvm::mmap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto fd = ReadDescriptor(env, info[0], "mmap");
  if (!fd) return {};
  const auto length = ReadInteger(env, info[1], "length", 0, kMaxSafeInteger);
  if (!length) return {};
  const auto offset = ReadInteger(env, info[2], "offset", 0, kMaxSafeInteger);
  if (!offset) return {};

  void* address = nullptr;
  const int result = svm_device_map(*fd, *length, *offset, &address);
  if (result < 0) {
    ThrowSystemError(env, result, "mmap");
    return {};
  }
  return {env, Region::Wrap(env, std::make_shared<Region>(regions_, address, *length))};
}

void IntelSvm::munmap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Region> region = Region::Read(env, *regions_, info[0]);
  if (region == nullptr) return;
  const int result = region->Unmap();
  if (result < 0) ThrowSystemError(env, result, "munmap");
}

}  // namespace intel_svm
