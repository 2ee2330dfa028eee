// The addon's exports. One instance lives in each environment, that is in the main thread and in
// each worker that loads the addon, and dies with it: what an environment owns is a member here,
// and nothing is global. Every method runs on its environment's thread.
//
// Methods bear the names that JavaScript sees; their bodies stand in one file per subject.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "allocation.h"
#include "arguments.h"
#include "end_guard.h"
#include "region.h"
#include "waiter.h"

namespace intel_svm {

// How a descriptor reaches a portal; JavaScript says 0 and 1.
enum class Instruction { kMovdir64b, kEnqcmd };

// cpu.cc
std::optional<Instruction> ReadInstruction(Napi::Env env, napi_value value);
const char* WaitMethodName();

class IntelSvm final : public Napi::Addon<IntelSvm> {
public:
  IntelSvm(Napi::Env env, Napi::Object exports);

private:
  // addon.cc
  void stop(const Napi::CallbackInfo& info);

  // cpu.cc
  Napi::Value cpuFeatures(const Napi::CallbackInfo& info);
  Napi::Value executes(const Napi::CallbackInfo& info);
  void pause(const Napi::CallbackInfo& info);

  // files.cc
  Napi::Value open(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  Napi::Value ioctl(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value poll(const Napi::CallbackInfo& info);

  // region.cc
  Napi::Value mmap(const Napi::CallbackInfo& info);
  void munmap(const Napi::CallbackInfo& info);

  // submitter.cc
  Napi::Value createSubmitter(const Napi::CallbackInfo& info);

  // memory.cc
  Napi::Value alloc(const Napi::CallbackInfo& info);
  void free(const Napi::CallbackInfo& info);
  void protect(const Napi::CallbackInfo& info);
  Napi::Value addressOf(const Napi::CallbackInfo& info);
  Napi::Value pin(const Napi::CallbackInfo& info);
  void unpin(const Napi::CallbackInfo& info);
  void touch(const Napi::CallbackInfo& info);
  Napi::Value peek(const Napi::CallbackInfo& info);

  // waiter.cc
  Napi::Value createWaiter(const Napi::CallbackInfo& info);

  // A descriptor that this environment opened; else EBADF is pending.
  std::optional<int> ReadDescriptor(Napi::Env env, napi_value value, const char* syscall);
  // The allocation that an ArrayBuffer shows; else EINVAL is pending.
  std::shared_ptr<Allocation> ReadAllocation(Napi::Env env, napi_value value, const char* syscall);
  // Whether `protect` has left the CPU both rights.
  bool IsReadWrite(const Memory& memory) const;
  // Whether the CPU executes the instruction, whatever CPUID says of it.
  bool Executes(Instruction instruction);

  // No thread waits afterwards, nothing is mapped, and every device has drained.
  void StopDevices();

  const MemoryReader memories_;
  std::unordered_set<int> descriptors_;
  const std::shared_ptr<RegionTable> regions_ = std::make_shared<RegionTable>();
  const std::shared_ptr<AllocationTable> allocations_ = std::make_shared<AllocationTable>();

  // What keeps pinned memory: a count for allocated memory, a reference for any other.
  struct Pin {
    Hold allocation;
    Napi::ObjectReference buffer;
  };
  std::unordered_map<uint64_t, Pin> pins_;
  uint64_t lastPin_ = 0;

  WaiterThread waiterThread_;
  std::optional<bool> trials_[2];
  // Stops the devices; last, as it may do so as soon as it is there.
  EndGuard guard_;
};

}  // namespace intel_svm
