#include "errors.h"

#include <string>

#include "../shim/errno_name.h"

namespace intel_svm {

void ThrowSystemError(Napi::Env env, int result, const char* syscall) {
  const int number = -result;
  const char* symbol = svm_errno_name(number);
  const std::string code = symbol != nullptr ? symbol : "UNKNOWN";
  char message[128];
  svm_errno_message(number, message, sizeof message);

  Napi::Error error = Napi::Error::New(env, code + ": " + message + ", " + syscall);
  error.Set("code", Napi::String::New(env, code));
  error.Set("errno", Napi::Number::New(env, result));
  error.Set("syscall", Napi::String::New(env, syscall));
  error.ThrowAsJavaScriptException();
}

}  // namespace intel_svm
