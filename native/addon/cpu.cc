// What the CPU says it has, and what it executes.

#include <csignal>
#include <ctime>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../shim/cpu_features.h"
#include "../shim/portal.h"
#include "../shim/waiter.h"
#include "addon.h"
#include "arguments.h"
#include "errors.h"

namespace intel_svm {

namespace {

constexpr int kTrialMilliseconds = 1000;

// Executes the instruction once, on memory of its own.
int Execute(Instruction instruction) {
  alignas(SVM_DESCRIPTOR_SIZE) unsigned char line[SVM_DESCRIPTOR_SIZE];
  const unsigned char descriptor[SVM_DESCRIPTOR_SIZE] = {};
  svm_portal portal = {line, 0};
  return instruction == Instruction::kEnqcmd
             ? static_cast<int>(svm_portal_enqcmd(&portal, descriptor, 1))
             : svm_portal_movdir64b(&portal, descriptor, 1);
}

// Whether a child that executes the instruction comes to another end than SIGILL. (ENQCMD without
// a PASID is refused with SIGSEGV: the CPU knows it.)
bool SurvivesTrial(Instruction instruction) {
  // SAFETY: clone(2) without flags is fork(2) without the C library's handlers and without a
  // SIGCHLD at the end, of which Node would hear. The child makes no use of the C library's state.
  const long child = syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) {
    (void)prctl(PR_SET_DUMPABLE, 0);  // no core file
    _exit(Execute(instruction) < 0 ? 1 : 0);
  }
  if (child < 0) return false;

  const auto pid = static_cast<pid_t>(child);
  const timespec millisecond = {0, 1000000};
  int status = 0;
  pid_t ended = 0;
  // A handler for SIGILL that the program installed may never return.
  for (int waited = 0; waited < kTrialMilliseconds && ended == 0; waited++) {
    (void)nanosleep(&millisecond, nullptr);
    ended = waitpid(pid, &status, WNOHANG | __WALL);
  }
  if (ended == 0) {
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, __WALL);
    return false;
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status) == 0;
  return WIFSIGNALED(status) && WTERMSIG(status) != SIGILL;
}

}  // namespace

const char* WaitMethodName() {
  switch (svm_wait_best_method()) {
  case SVM_WAIT_UMWAIT:
    return "umwait";
  case SVM_WAIT_TPAUSE:
    return "tpause";
  case SVM_WAIT_PAUSE:
    return "pause";
  }
  return "pause";
}

std::optional<Instruction> ReadInstruction(Napi::Env env, napi_value value) {
  const auto number = ReadInteger(env, value, "instruction", 0, 1);
  if (!number) return std::nullopt;
  return *number == 1 ? Instruction::kEnqcmd : Instruction::kMovdir64b;
}

bool IntelSvm::Executes(Instruction instruction) {
  svm_cpu_features features;
  if (svm_get_cpu_features(&features) < 0) return false;
  if (instruction == Instruction::kEnqcmd ? features.enqcmd : features.movdir64b) return true;
  std::optional<bool>& known = trials_[instruction == Instruction::kEnqcmd ? 1 : 0];
  if (!known) known = SurvivesTrial(instruction);
  return *known;
}

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

Napi::Value IntelSvm::executes(const Napi::CallbackInfo& info) {
  const auto instruction = ReadInstruction(info.Env(), info[0]);
  if (!instruction) return {};
  return Napi::Boolean::New(info.Env(), Executes(*instruction));
}

void IntelSvm::pause(const Napi::CallbackInfo&) {
  svm_pause();
}

}  // namespace intel_svm
