#include "../shim/cpu_features.h"

#include "addon.h"
#include "errors.h"

namespace intel_svm {

Napi::Value IntelSvm::cpuFeatures(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  svm_cpu_features features;
  const int result = svm_get_cpu_features(&features);
  if (result < 0) {
    ThrowSystemError(env, result, "cpuid");
    return env.Undefined();
  }

  Napi::Object object = Napi::Object::New(env);
  object.Set("arch", svm_cpu_arch());
  object.Set("waitpkg", features.waitpkg);
  object.Set("la57", features.la57);
  object.Set("cldemote", features.cldemote);
  object.Set("movdiri", features.movdiri);
  object.Set("movdir64b", features.movdir64b);
  object.Set("enqcmd", features.enqcmd);
  return object;
}

}  // namespace intel_svm
