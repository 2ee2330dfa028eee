// The fast path from a ring to a portal. A submitter is a JavaScript function that holds both, so a
// call passes numbers and nothing else. Plain Node-API: its arguments cost less than napi.h's.

#include <cerrno>
#include <memory>
#include <utility>

#include "addon.h"
#include "arguments.h"
#include "errors.h"
#include "region.h"

namespace intel_svm {

namespace {

struct Submitter {
  std::shared_ptr<Region> region;
  // In memory that `region` holds as long as it is mapped.
  const uint8_t* ring;
  uint32_t slots;
  Instruction instruction;
};

// An integer from `least` to `most`.
bool ReadUint32(napi_env env, napi_value value, const char* name, uint32_t least, uint32_t most,
                uint32_t* out) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    ThrowInvalidArgType(env, name, "a number", value);
    return false;
  }
  if (number >= least && number <= most) {
    *out = static_cast<uint32_t>(number);
    if (*out == number) return true;
  }
  ThrowOutOfRange(env, name, least, most);
  return false;
}

napi_value Submit(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  size_t given = 2;
  void* data = nullptr;
  (void)napi_get_cb_info(env, info, &given, arguments, nullptr, &data);
  const auto& [region, ring, slots, instruction] = *static_cast<Submitter*>(data);

  uint32_t slot = 0;
  uint32_t count = 1;
  if (!ReadUint32(env, arguments[0], "slot", 0, slots - 1, &slot)) return nullptr;
  if (given > 1 && !IsUndefined(env, arguments[1]) &&
      !ReadUint32(env, arguments[1], "count", 1, slots - slot, &count)) {
    return nullptr;
  }
  if (!region->isMapped()) {
    ThrowInvalidState(env, "the portal is unmapped");
    return nullptr;
  }

  // SAFETY: the slots lie in the ring; the region holds its memory, readable, while it is mapped.
  const uint8_t* descriptors = ring + size_t{slot} * SVM_DESCRIPTOR_SIZE;
  int64_t result = count;
  if (instruction == Instruction::kEnqcmd) {
    result = svm_portal_enqcmd(region->portal(), descriptors, count);
  } else if (const int error = svm_portal_movdir64b(region->portal(), descriptors, count)) {
    result = error;
  }
  if (result < 0) {
    ThrowSystemError(env, static_cast<int>(result), "submit");
    return nullptr;
  }
  napi_value accepted = nullptr;
  (void)napi_create_uint32(env, static_cast<uint32_t>(result), &accepted);
  return accepted;
}

void LetGo(napi_env, void* data, void*) {
  delete static_cast<Submitter*>(data);
}

}  // namespace

Napi::Value IntelSvm::createSubmitter(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Region> region = Region::Read(env, *regions_, info[0]);
  if (region == nullptr) return {};
  const auto instruction = ReadInstruction(env, info[1]);
  if (!instruction) return {};
  const auto ring = memories_.Read(env, info[2], "ring");
  if (!ring) return {};
  const std::shared_ptr<Allocation> memory = allocations_->Find(ring->data, ring->length);
  if (memory == nullptr || ring->length < SVM_DESCRIPTOR_SIZE) {
    ThrowInvalidArgValue(env, "ring", "must be memory of alloc, with room for a descriptor");
    return {};
  }
  if (!region->isMapped()) {
    ThrowInvalidState(env, "the portal is unmapped");
    return {};
  }

  int error = memory->protection() == SVM_PROT_NONE ? -EFAULT : region->CheckPortal();
  if (error == 0 && !Executes(*instruction)) error = -ENOSYS;
  if (error < 0) {
    ThrowSystemError(env, error, "submit");
    return {};
  }

  // alloc gives at most 4 GiB, so the slots can be counted in 32 bits.
  const auto slots = static_cast<uint32_t>(ring->length / SVM_DESCRIPTOR_SIZE);
  auto* submitter = new Submitter{region, ring->data, slots, *instruction};
  napi_value function = nullptr;
  if (napi_create_function(env, "submit", NAPI_AUTO_LENGTH, Submit, submitter, &function) !=
          napi_ok ||
      napi_add_finalizer(env, function, submitter, LetGo, nullptr, nullptr) != napi_ok) {
    delete submitter;
    ThrowLastError(env);
    return {};
  }
  region->HoldRing(memory);
  return {env, function};
}

}  // namespace intel_svm
