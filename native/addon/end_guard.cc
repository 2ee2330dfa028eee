#include "end_guard.h"

#include "errors.h"
#include "globals.h"

namespace intel_svm {

struct EndGuard::ForeignMemory {
  EndGuard* guard;  // nullptr when newer memory has taken its place
  uint8_t byte;

  static void Free(napi_env, void*, void* self) {
    auto* memory = static_cast<ForeignMemory*>(self);
    if (memory->guard != nullptr) Call(memory->guard);
    delete memory;
  }
};

EndGuard::EndGuard(Napi::Env env, Function function, void* context)
    : function_(function), context_(context),
      named_(MakeInstance(env, FindFunction(env, {"WeakSet"}))),
      has_(FindFunction(env, {"WeakSet", "prototype", "has"})),
      add_(FindFunction(env, {"WeakSet", "prototype", "add"})) {
  GoBeforeMemory(env);
}

void EndGuard::Call(void* self) {
  const auto* guard = static_cast<EndGuard*>(self);
  guard->function_(guard->context_);
}

void EndGuard::GoBefore(Napi::Env env, napi_value buffer) {
  if (Ask(env, has_, buffer)) return;
  GoBeforeMemory(env);
  (void)Ask(env, add_, buffer);
}

bool EndGuard::Ask(Napi::Env env, const Napi::FunctionReference& method, napi_value buffer) const {
  napi_value answer = nullptr;
  bool isTrue = false;
  if (named_.IsEmpty() || method.IsEmpty() ||
      napi_call_function(env, named_.Value(), method.Value(), 1, &buffer, &answer) != napi_ok) {
    ClearException(env);
    return false;
  }
  (void)napi_get_value_bool(env, answer, &isTrue);
  return isTrue;
}

void EndGuard::GoBeforeMemory(Napi::Env env) {
  auto* memory = new ForeignMemory{this, 0};
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, &memory->byte, sizeof memory->byte, ForeignMemory::Free,
                                       memory, &buffer) == napi_ok) {
    if (memory_ != nullptr) memory_->guard = nullptr;
    memory_ = memory;
    memoryReference_ = Napi::Persistent(Napi::Object(env, buffer));
  } else {
    // A program that embeds Node may allow no foreign memory; then there is none to go before. Node
    // may or may not call the finalizer: what is left to it is harmless.
    memory->guard = nullptr;
  }
  GoBeforeHooks(env);
}

void EndGuard::GoBeforeHooks(Napi::Env env) {
  if (hasHook_) (void)napi_remove_env_cleanup_hook(env, Call, this);
  hasHook_ = napi_add_env_cleanup_hook(env, Call, this) == napi_ok;
}

}  // namespace intel_svm
