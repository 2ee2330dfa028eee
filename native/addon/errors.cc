#include "errors.h"

#include <cstdio>
#include <iterator>
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

  // Defined, not set: a setter that a program put on Error.prototype is not called.
  const auto attributes =
      static_cast<napi_property_attributes>(napi_writable | napi_enumerable | napi_configurable);
  const auto property = [&](const char* name, napi_value value) {
    return napi_property_descriptor{name,    nullptr, nullptr,    nullptr,
                                    nullptr, value,   attributes, nullptr};
  };
  const Napi::String text = Napi::String::New(env, code + ": " + message + ", " + syscall);
  napi_value error = nullptr;
  if (napi_create_error(env, nullptr, text, &error) != napi_ok) return;
  const napi_property_descriptor properties[] = {
      property("code", Napi::String::New(env, code)),
      property("errno", Napi::Number::New(env, result)),
      property("syscall", Napi::String::New(env, syscall)),
  };
  (void)napi_define_properties(env, error, std::size(properties), properties);
  (void)napi_throw(env, error);
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

void ClearException(Napi::Env env) {
  bool isPending = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(env, &isPending) == napi_ok && isPending) {
    (void)napi_get_and_clear_last_exception(env, &exception);
  }
}

void ThrowLastError(Napi::Env env) {
  Napi::Error::New(env).ThrowAsJavaScriptException();
}

}  // namespace intel_svm
