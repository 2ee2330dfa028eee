// The addon's exports. One instance lives in each environment, that is in the main thread and in
// each worker that loads the addon, and dies with it: what an environment owns is a member here,
// and nothing is global. Every method runs on its environment's thread.
//
// Methods bear the names that JavaScript sees; their bodies stand in one file per subject.
#pragma once

#include <napi.h>

namespace intel_svm {

class IntelSvm final : public Napi::Addon<IntelSvm> {
public:
  IntelSvm(Napi::Env env, Napi::Object exports);

private:
  // cpu.cc
  Napi::Value cpuFeatures(const Napi::CallbackInfo& info);
};

}  // namespace intel_svm
