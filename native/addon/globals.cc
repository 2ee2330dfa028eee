#include "globals.h"

#include "errors.h"

namespace intel_svm {

namespace {

// Nothing where reading it fails; the same for what `object` may be then.
napi_value Get(napi_env env, napi_value object, const char* name) {
  napi_value value = nullptr;
  if (object != nullptr && napi_get_named_property(env, object, name, &value) == napi_ok) {
    return value;
  }
  ClearException(env);
  return nullptr;
}

napi_value Follow(Napi::Env env, std::initializer_list<const char*> path) {
  napi_value value = env.Global();
  for (const char* name : path)
    value = Get(env, value, name);
  return value;
}

Napi::FunctionReference Keep(Napi::Env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  if (value == nullptr || napi_typeof(env, value, &type) != napi_ok || type != napi_function) {
    return {};
  }
  return Napi::Persistent(Napi::Function(env, value));
}

}  // namespace

Napi::FunctionReference FindFunction(Napi::Env env, std::initializer_list<const char*> path) {
  return Keep(env, Follow(env, path));
}

Napi::FunctionReference FindGetter(Napi::Env env, const char* className, const char* property) {
  const Napi::FunctionReference describe =
      FindFunction(env, {"Object", "getOwnPropertyDescriptor"});
  const napi_value prototype = Follow(env, {className, "prototype"});
  if (describe.IsEmpty() || prototype == nullptr) return {};
  const napi_value arguments[] = {prototype, Napi::String::New(env, property)};
  napi_value descriptor = nullptr;
  if (napi_call_function(env, env.Global(), describe.Value(), 2, arguments, &descriptor) !=
      napi_ok) {
    ClearException(env);
  }
  return Keep(env, Get(env, descriptor, "get"));
}

Napi::ObjectReference MakeInstance(Napi::Env env, const Napi::FunctionReference& constructor) {
  napi_value instance = nullptr;
  if (constructor.IsEmpty() ||
      napi_new_instance(env, constructor.Value(), 0, nullptr, &instance) != napi_ok) {
    ClearException(env);
    return {};
  }
  return Napi::Persistent(Napi::Object(env, instance));
}

}  // namespace intel_svm
