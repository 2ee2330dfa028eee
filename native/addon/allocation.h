// Memory that the addon allocated, and who holds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "../shim/memory.h"

namespace intel_svm {

class Allocation;

// The allocations of one environment that are still mapped, by address. On its thread alone.
class AllocationTable {
public:
  void Add(Allocation* allocation);
  void Remove(const Allocation* allocation);
  // The allocation that holds all bytes of a range; nothing where there is none or the range is
  // empty.
  std::shared_ptr<Allocation> Find(const uint8_t* data, size_t length) const;

private:
  std::map<uintptr_t, Allocation*> byAddress_;
};

// Anonymous pages. Unmapped by Free, or when the last of those that share it lets go: its
// ArrayBuffer, pins, rings, waiters.
class Allocation final : public std::enable_shared_from_this<Allocation> {
public:
  // `length` bytes for JavaScript at the start of `mappedLength`, which svm_memory_alloc returned.
  Allocation(std::shared_ptr<AllocationTable> table, void* address, size_t length,
             size_t mappedLength);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  uint8_t* data() const {
    return data_;
  }
  size_t length() const {
    return length_;
  }
  svm_protection protection() const {
    return protection_;
  }
  // Whether a device, a portal or the waiter thread may use it now.
  bool isHeld() const {
    return holds_ > 0;
  }
  // Whether a portal or the waiter thread reads it with the CPU, which must not fault.
  bool isRead() const {
    return readers_ > 0;
  }

  // Return 0 or -errno of the shim.
  int Free();
  int Protect(svm_protection protection);

private:
  friend class Hold;

  std::shared_ptr<AllocationTable> table_;
  uint8_t* data_;  // nullptr after Free
  size_t length_;
  size_t mappedLength_;
  svm_protection protection_ = SVM_PROT_READ_WRITE;
  size_t holds_ = 0;
  size_t readers_ = 0;
};

// One use of an allocation, counted as long as the object lives.
class Hold final {
public:
  enum class Kind { kPin, kReader };

  Hold() = default;
  Hold(std::shared_ptr<Allocation> allocation, Kind kind);
  ~Hold();
  Hold(Hold&& other) noexcept = default;
  Hold& operator=(Hold&& other) = delete;
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

private:
  std::shared_ptr<Allocation> allocation_;
  Kind kind_ = Kind::kPin;
};

}  // namespace intel_svm
