#include "allocation.h"

#include <utility>

namespace intel_svm {

namespace {

uintptr_t AddressOf(const uint8_t* data) {
  return reinterpret_cast<uintptr_t>(data);
}

}  // namespace

void AllocationTable::Add(Allocation* allocation) {
  byAddress_[AddressOf(allocation->data())] = allocation;
}

void AllocationTable::Remove(const Allocation* allocation) {
  byAddress_.erase(AddressOf(allocation->data()));
}

std::shared_ptr<Allocation> AllocationTable::Find(const uint8_t* data, size_t length) const {
  const uintptr_t address = AddressOf(data);
  auto next = byAddress_.upper_bound(address);
  if (length == 0 || next == byAddress_.begin()) return nullptr;
  Allocation* allocation = std::prev(next)->second;
  const uintptr_t offset = address - AddressOf(allocation->data());
  if (offset >= allocation->length() || length > allocation->length() - offset) return nullptr;
  return allocation->shared_from_this();
}

Allocation::Allocation(std::shared_ptr<AllocationTable> table, void* address, size_t length,
                       size_t mappedLength)
    : table_(std::move(table)), data_(static_cast<uint8_t*>(address)), length_(length),
      mappedLength_(mappedLength) {
  table_->Add(this);
}

Allocation::~Allocation() {
  if (data_ != nullptr) (void)Free();
}

int Allocation::Free() {
  table_->Remove(this);
  const int result = svm_memory_free(data_, mappedLength_);
  data_ = nullptr;
  return result;
}

int Allocation::Protect(svm_protection protection) {
  const int result = svm_memory_protect(data_, mappedLength_, protection);
  if (result == 0) protection_ = protection;
  return result;
}

Hold::Hold(std::shared_ptr<Allocation> allocation, Kind kind)
    : allocation_(std::move(allocation)), kind_(kind) {
  allocation_->holds_++;
  if (kind_ == Kind::kReader) allocation_->readers_++;
}

Hold::~Hold() {
  if (allocation_ == nullptr) return;
  allocation_->holds_--;
  if (kind_ == Kind::kReader) allocation_->readers_--;
}

}  // namespace intel_svm
