#include "addon.h"

#include "../shim/char_device.h"
#include "../shim/memory.h"
#include "../shim/version.h"

namespace intel_svm {

static_assert(SVM_SHIM_ABI_VERSION == 1, "the addon was written against another shim");

IntelSvm::IntelSvm(Napi::Env env, Napi::Object exports)
    : memories_(env), waiterThread_(env),
      guard_(env, [](void* self) { static_cast<IntelSvm*>(self)->StopDevices(); }, this) {
  const auto pageSize = static_cast<double>(svm_page_size());
  DefineAddon(
      exports,
      {
          InstanceValue("version", Napi::String::New(env, INTEL_SVM_VERSION), napi_enumerable),
          InstanceValue("napiVersion", Napi::Number::New(env, NAPI_VERSION), napi_enumerable),
          InstanceValue("pageSize", Napi::Number::New(env, pageSize), napi_enumerable),
          InstanceValue("waitMethod", Napi::String::New(env, WaitMethodName()), napi_enumerable),
          InstanceMethod<&IntelSvm::cpuFeatures>("cpuFeatures", napi_enumerable),
          InstanceMethod<&IntelSvm::executes>("executes", napi_enumerable),
          InstanceMethod<&IntelSvm::pause>("pause", napi_enumerable),
          InstanceMethod<&IntelSvm::open>("open", napi_enumerable),
          InstanceMethod<&IntelSvm::close>("close", napi_enumerable),
          InstanceMethod<&IntelSvm::ioctl>("ioctl", napi_enumerable),
          InstanceMethod<&IntelSvm::write>("write", napi_enumerable),
          InstanceMethod<&IntelSvm::poll>("poll", napi_enumerable),
          InstanceMethod<&IntelSvm::mmap>("mmap", napi_enumerable),
          InstanceMethod<&IntelSvm::munmap>("munmap", napi_enumerable),
          InstanceMethod<&IntelSvm::createSubmitter>("createSubmitter", napi_enumerable),
          InstanceMethod<&IntelSvm::alloc>("alloc", napi_enumerable),
          InstanceMethod<&IntelSvm::free>("free", napi_enumerable),
          InstanceMethod<&IntelSvm::protect>("protect", napi_enumerable),
          InstanceMethod<&IntelSvm::addressOf>("addressOf", napi_enumerable),
          InstanceMethod<&IntelSvm::pin>("pin", napi_enumerable),
          InstanceMethod<&IntelSvm::unpin>("unpin", napi_enumerable),
          InstanceMethod<&IntelSvm::touch>("touch", napi_enumerable),
          InstanceMethod<&IntelSvm::peek>("peek", napi_enumerable),
          InstanceMethod<&IntelSvm::createWaiter>("createWaiter", napi_enumerable),
          InstanceMethod<&IntelSvm::stop>("stop", napi_enumerable),
      });
}

void IntelSvm::StopDevices() {
  waiterThread_.Stop();
  // Each takes itself off the table.
  while (!regions_->empty())
    (void)(*regions_->begin())->Unmap();
  // The kernel drains what is in flight before the last close of a file returns.
  for (const int fd : descriptors_)
    (void)svm_device_close(fd);
  descriptors_.clear();
}

void IntelSvm::stop(const Napi::CallbackInfo&) {
  StopDevices();
}

}  // namespace intel_svm

using intel_svm::IntelSvm;
NODE_API_ADDON(IntelSvm)
