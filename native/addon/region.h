// Mapped device regions.
#pragma once

#include <napi.h>

#include <cstddef>
#include <map>
#include <memory>
#include <unordered_set>

#include "../shim/portal.h"
#include "allocation.h"

namespace intel_svm {

class Region;

// The regions of one environment that are mapped. On its thread alone.
using RegionTable = std::unordered_set<Region*>;

// A mapping of a device file. Unmapped by Unmap, or when the last of those that share it lets go:
// its JavaScript object and its submitters.
class Region final {
public:
  Region(std::shared_ptr<RegionTable> table, void* address, size_t length);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  bool isMapped() const {
    return address_ != nullptr;
  }
  // Returns 0 where descriptors can be stored to it; -EINVAL where it is too small for a portal,
  // -EFAULT where a store would raise SIGBUS.
  int CheckPortal() const;
  // Where the next descriptor is stored: one place for all submitters of the region.
  svm_portal* portal() {
    return &portal_;
  }

  // Keeps the memory of a ring until the region is unmapped.
  void HoldRing(const std::shared_ptr<Allocation>& ring);
  // Lets go of the rings. Returns 0, or -errno of the shim; -EINVAL where it is unmapped already.
  int Unmap();

  // The JavaScript object: opaque, tagged as a region of this table. (Two copies of the addon in
  // one environment do not take each other's.)
  static napi_value Wrap(Napi::Env env, const std::shared_ptr<Region>& region);
  // Nothing, with an exception pending, for any other value.
  static std::shared_ptr<Region> Read(Napi::Env env, const RegionTable& table, napi_value value);

private:
  std::shared_ptr<RegionTable> table_;
  void* address_;
  size_t length_;
  svm_portal portal_;
  std::map<const Allocation*, Hold> rings_;
};

}  // namespace intel_svm
