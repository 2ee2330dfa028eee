#include "addon.h"

#include "../shim/version.h"

namespace intel_svm {

static_assert(SVM_SHIM_ABI_VERSION == 1, "the addon was written against another shim");

IntelSvm::IntelSvm(Napi::Env env, Napi::Object exports) {
  DefineAddon(
      exports,
      {
          InstanceValue("version", Napi::String::New(env, INTEL_SVM_VERSION), napi_enumerable),
          InstanceValue("napiVersion", Napi::Number::New(env, NAPI_VERSION), napi_enumerable),
          InstanceMethod<&IntelSvm::cpuFeatures>("cpuFeatures", napi_enumerable),
      });
}

}  // namespace intel_svm

using intel_svm::IntelSvm;
NODE_API_ADDON(IntelSvm)
