#include "errors.h"

#include <cstdio>
#include <string>

#include "../shim/errno_name.h"

namespace intel_svm {

namespace {

const char* TypeName(napi_valuetype type) {
  switch (type) {
  case napi_undefined:
    return "undefined";
  case napi_null:
    return "null";
  case napi_boolean:
    return "type boolean";
  case napi_number:
    return "type number";
  case napi_string:
    return "type string";
  case napi_symbol:
    return "type symbol";
  case napi_object:
    return "an object";
  case napi_function:
    return "a function";
  case napi_external:
    return "an external";
  case napi_bigint:
    return "type bigint";
  }
  return "something else";
}

std::string Argument(const char* name) {
  return std::string("The \"") + name + "\" argument ";
}

}  // namespace

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

void ThrowInvalidArgType(Napi::Env env, const char* name, const char* expected, napi_value actual) {
  napi_valuetype type = napi_undefined;
  (void)napi_typeof(env, actual, &type);
  const std::string message =
      Argument(name) + "must be " + expected + ". Received " + TypeName(type);
  (void)napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message.c_str());
}

void ThrowInvalidArgValue(Napi::Env env, const char* name, const char* problem) {
  const std::string message = Argument(name) + problem;
  (void)napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", message.c_str());
}

void ThrowOutOfRange(Napi::Env env, const char* name, double least, double most) {
  char range[80];
  (void)std::snprintf(range, sizeof range, "must be an integer from %.0f to %.0f", least, most);
  const std::string message = Argument(name) + range;
  (void)napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
}

void ThrowInvalidState(Napi::Env env, const char* problem) {
  const std::string message = std::string("Invalid state: ") + problem;
  (void)napi_throw_error(env, "ERR_INVALID_STATE", message.c_str());
}

void ThrowLastError(Napi::Env env) {
  Napi::Error::New(env).ThrowAsJavaScriptException();
}

}  // namespace intel_svm
