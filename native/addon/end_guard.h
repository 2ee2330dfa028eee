// Being first when an environment ends.
#pragma once

#include <napi.h>

namespace intel_svm {

// Calls a function before anything that an environment has at its end is gone.
//
// An environment ends by freeing foreign memory, which is what external ArrayBuffers show, and then
// by its cleanup hooks; of both, what was made last goes first. (Nodes that free foreign memory by
// hooks, too, are no different.) So the guard has one of each, and makes them anew to go before
// what was made since. The memory of V8's own buffers goes after all of that.
class EndGuard final {
public:
  using Function = void (*)(void* context);

  EndGuard(Napi::Env env, Function function, void* context);
  EndGuard(const EndGuard&) = delete;
  EndGuard& operator=(const EndGuard&) = delete;

  // The function will be called before a buffer's memory is freed, whoever lent it. Cheap for a
  // buffer that was named before.
  void GoBefore(Napi::Env env, napi_value buffer);
  // ... before any memory that is there now, and any hook.
  void GoBeforeMemory(Napi::Env env);
  // ... before any hook that is there now.
  void GoBeforeHooks(Napi::Env env);

private:
  struct ForeignMemory;

  static void Call(void* self);
  bool Ask(Napi::Env env, const Napi::FunctionReference& method, napi_value buffer) const;

  const Function function_;
  void* const context_;
  bool hasHook_ = false;
  ForeignMemory* memory_ = nullptr;
  // Nothing but the end may free it.
  Napi::ObjectReference memoryReference_;
  // A WeakSet, and its methods.
  const Napi::ObjectReference named_;
  const Napi::FunctionReference has_;
  const Napi::FunctionReference add_;
};

}  // namespace intel_svm
