#include "region.h"

#include <cerrno>
#include <utility>

#include "../shim/char_device.h"
#include "addon.h"
#include "arguments.h"
#include "errors.h"

namespace intel_svm {

namespace {

// A random number (uuidgen): no other addon's objects bear it.
constexpr napi_type_tag kRegionTag = {0x5f9a1c3be2d74806, 0x8e1b60f47ac2d395};

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
  auto* share = new std::shared_ptr<Region>(region);
  if (napi_create_object(env, &object) != napi_ok ||
      napi_type_tag_object(env, object, &kRegionTag) != napi_ok ||
      napi_wrap(env, object, share, LetGo, nullptr, nullptr) != napi_ok) {
    delete share;
    ThrowLastError(env);
    return nullptr;
  }
  return object;
}

std::shared_ptr<Region> Region::Read(Napi::Env env, napi_value value, const char* name) {
  napi_valuetype type = napi_undefined;
  bool tagged = false;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object ||
      napi_check_object_type_tag(env, value, &kRegionTag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(env, value, &data) != napi_ok) {
    ThrowInvalidArgType(env, name, "a region of mmap", value);
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
  const std::shared_ptr<Region> region = Region::Read(env, info[0], "region");
  if (region == nullptr) return;
  const int result = region->Unmap();
  if (result < 0) ThrowSystemError(env, result, "munmap");
}

}  // namespace intel_svm
