#include "waiter.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include "addon.h"
#include "arguments.h"
#include "errors.h"

namespace intel_svm {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

// The thread looks again after an eighth of the time that it has waited already, between these two:
// so no completion is seen later than an eighth after its time, and a long wait costs little.
constexpr nanoseconds kShortestLook{2'000};
constexpr nanoseconds kLongestLook{1'000'000};
// A time as long as this is slept instead of waited on the CPU.
constexpr nanoseconds kShortestSleep{50'000};

constexpr uint32_t kMostSlots = 1 << 20;

nanoseconds NextLook(nanoseconds waited) {
  return std::clamp(waited / 8, kShortestLook, kLongestLook);
}

}  // namespace

Waiter::Waiter(WaiterThread* owner, Hold held) : thread(owner), records(std::move(held)) {}

bool WaiterThread::Open() {
  const Napi::String name = Napi::String::New(env_, "intel_svm.waiter");
  if (napi_create_threadsafe_function(env_, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this,
                                      CallJs, &wakeLoop_) != napi_ok) {
    wakeLoop_ = nullptr;
    ThrowLastError(env_);
    return false;
  }
  (void)napi_unref_threadsafe_function(env_, wakeLoop_);
  return true;
}

void WaiterThread::Add(const std::shared_ptr<Waiter>& waiter) {
  waiters_.insert(waiter);
}

int WaiterThread::Watch(Waiter* waiter, uint32_t slot, uint32_t count) {
  const int result = isRunning_ ? 0 : Start();
  if (result < 0) return result;
  SetWatchedCount(watchedCount_ + count);
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t i = slot; i < slot + count; i++) {
    waiter->watched[i] = true;
    added_.push_back({waiter, waiter->bytes + i * waiter->stride, i});
  }
  change_.notify_one();
  return 0;
}

void WaiterThread::Close(Waiter* waiter) {
  const auto isOfWaiter = [waiter](const Watched& watched) { return watched.waiter == waiter; };
  const auto forget = [&](std::vector<Watched>& list) {
    list.erase(std::remove_if(list.begin(), list.end(), isOfWaiter), list.end());
  };
  {
    std::unique_lock<std::mutex> lock(mutex_);
    isPaused_ = true;
    svm_stop_raise(&interrupt_);
    scanned_.wait(lock, [this] { return !isScanning_; });
    interrupt_ = {};
    forget(watched_);
    forget(added_);
    ready_.erase(std::remove(ready_.begin(), ready_.end(), waiter), ready_.end());
    isPaused_ = false;
    change_.notify_one();
  }
  const auto open = std::count(waiter->watched.begin(), waiter->watched.end(), true);
  SetWatchedCount(watchedCount_ - static_cast<size_t>(open));
  // The function may be what keeps the waiter: it goes last.
  const std::shared_ptr<Waiter> self = waiter->shared_from_this();
  waiter->thread = nullptr;
  waiter->onWake.Reset();
  waiter->completed.Reset();
  const Hold released = std::move(waiter->records);
  waiters_.erase(self);
}

void WaiterThread::Stop() {
  if (isRunning_) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      isStopping_ = true;
      svm_stop_raise(&interrupt_);
      change_.notify_one();
    }
    (void)pthread_join(thread_, nullptr);
    isRunning_ = false;
    isStopping_ = false;
    interrupt_ = {};
  }
  while (!waiters_.empty())
    Close(waiters_.begin()->get());
}

void WaiterThread::SetWatchedCount(size_t count) {
  // The process stays alive while something is watched, and not a moment longer.
  if (watchedCount_ == 0 && count > 0) (void)napi_ref_threadsafe_function(env_, wakeLoop_);
  if (watchedCount_ > 0 && count == 0) (void)napi_unref_threadsafe_function(env_, wakeLoop_);
  watchedCount_ = count;
}

int WaiterThread::Start() {
  // Signals are for Node's own threads: the new thread inherits this mask.
  sigset_t all;
  sigset_t before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&thread_, nullptr, Main, this);
  (void)pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return -error;
  (void)pthread_setname_np(thread_, "svm-waiter");
  isRunning_ = true;
  return 0;
}

void* WaiterThread::Main(void* self) {
  static_cast<WaiterThread*>(self)->Loop();
  return nullptr;
}

void WaiterThread::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  Clock::time_point since = Clock::now();
  for (;;) {
    while (!isStopping_ && (isPaused_ || (watched_.empty() && added_.empty())))
      change_.wait(lock);
    if (isStopping_) return;
    if (!added_.empty()) {
      watched_.insert(watched_.end(), added_.begin(), added_.end());
      added_.clear();
      since = Clock::now();
    }

    isScanning_ = true;
    lock.unlock();
    Scan();
    const nanoseconds look = NextLook(Clock::now() - since);
    // The oldest is the likeliest to be next, and no later than the others.
    if (found_.empty() && look < kShortestSleep) {
      (void)svm_wait_byte(watched_.front().byte, static_cast<uint64_t>(look.count()),
                          svm_wait_best_method(), &interrupt_);
    }
    lock.lock();
    isScanning_ = false;
    scanned_.notify_one();

    if (!found_.empty()) {
      Publish();
      since = Clock::now();
    } else if (look >= kShortestSleep && !isStopping_ && !isPaused_ && added_.empty()) {
      (void)change_.wait_for(lock, look);
    }
  }
}

// Moves those whose byte is written from watched_ to found_.
void WaiterThread::Scan() {
  const auto isOpen = [](const Watched& watched) {
    // SAFETY: readable until Close, which waits for the end of the scan. Acquire: what the device
    // wrote before the byte is visible after it.
    return __atomic_load_n(watched.byte, __ATOMIC_ACQUIRE) == 0;
  };
  const auto firstDone = std::stable_partition(watched_.begin(), watched_.end(), isOpen);
  found_.assign(firstDone, watched_.end());
  watched_.erase(firstDone, watched_.end());
}

// Hands found_ over and wakes the event loop, unless it is about to look anyway.
void WaiterThread::Publish() {
  for (const Watched& watched : found_) {
    Waiter* waiter = watched.waiter;
    if (waiter->done.empty()) ready_.push_back(waiter);
    waiter->done.push_back(watched.slot);
  }
  found_.clear();
  if (isWaking_) return;
  isWaking_ = true;
  (void)napi_call_threadsafe_function(wakeLoop_, nullptr, napi_tsfn_nonblocking);
}

void WaiterThread::CallJs(napi_env env, napi_value, void* context, void*) {
  // No environment: it is being torn down, and `context` with it.
  if (env != nullptr) static_cast<WaiterThread*>(context)->Deliver();
}

void WaiterThread::Deliver() {
  std::vector<std::pair<std::shared_ptr<Waiter>, std::vector<uint32_t>>> batches;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    isWaking_ = false;
    for (Waiter* waiter : ready_) {
      batches.emplace_back(waiter->shared_from_this(), std::exchange(waiter->done, {}));
    }
    ready_.clear();
  }
  for (const auto& [waiter, slots] : batches) {
    // The function of another may have closed it.
    if (waiter->thread == nullptr) continue;
    const Napi::HandleScope scope(env_);
    for (const uint32_t slot : slots)
      waiter->watched[slot] = false;
    SetWatchedCount(watchedCount_ - slots.size());

    // Elements that the caller's array lost (he may have transferred it) are lost.
    void* completed = nullptr;
    size_t room = 0;
    (void)napi_get_typedarray_info(env_, waiter->completed.Value(), nullptr, &room, &completed,
                                   nullptr, nullptr);
    const size_t count = std::min(room, slots.size());
    std::copy_n(slots.begin(), count, static_cast<int32_t*>(completed));

    const napi_value argument = Napi::Number::New(env_, static_cast<double>(count));
    const napi_status status =
        napi_call_function(env_, env_.Undefined(), waiter->onWake.Value(), 1, &argument, nullptr);
    if (status == napi_pending_exception) {
      napi_value error = nullptr;
      if (napi_get_and_clear_last_exception(env_, &error) == napi_ok) {
        (void)napi_fatal_exception(env_, error);
      }
    }
  }
}

namespace {

using Share = std::shared_ptr<Waiter>;

void LetGo(napi_env, void* data, void*) {
  delete static_cast<Share*>(data);
}

Waiter* WaiterOf(napi_env env, napi_callback_info info, size_t* given, napi_value* arguments) {
  void* data = nullptr;
  (void)napi_get_cb_info(env, info, given, arguments, nullptr, &data);
  return static_cast<Share*>(data)->get();
}

napi_value Watch(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  size_t given = 2;
  Waiter* waiter = WaiterOf(env, info, &given, arguments);
  if (waiter->thread == nullptr) {
    ThrowInvalidState(env, "the waiter is closed");
    return nullptr;
  }
  const auto first = ReadInteger(env, arguments[0], "slot", 0, waiter->slots - 1);
  if (!first) return nullptr;
  const auto slot = static_cast<uint32_t>(*first);
  uint32_t count = 1;
  if (given > 1 && !IsUndefined(env, arguments[1])) {
    const auto number = ReadInteger(env, arguments[1], "count", 1, waiter->slots - slot);
    if (!number) return nullptr;
    count = static_cast<uint32_t>(*number);
  }
  const auto begin = waiter->watched.begin() + slot;
  if (std::find(begin, begin + count, true) != begin + count) {
    ThrowInvalidState(env, "the slot is watched already");
    return nullptr;
  }
  const int result = waiter->thread->Watch(waiter, slot, count);
  if (result < 0) ThrowSystemError(env, result, "pthread_create");
  return nullptr;
}

napi_value Close(napi_env env, napi_callback_info info) {
  size_t given = 0;
  Waiter* waiter = WaiterOf(env, info, &given, nullptr);
  if (waiter->thread != nullptr) waiter->thread->Close(waiter);
  return nullptr;
}

// A method that holds the waiter itself, so that it works on whatever `this`.
bool DefineMethod(napi_env env, napi_value object, const char* name, napi_callback callback,
                  const Share& waiter) {
  napi_value function = nullptr;
  auto* share = new Share(waiter);
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, share, &function) != napi_ok ||
      napi_add_finalizer(env, function, share, LetGo, nullptr, nullptr) != napi_ok) {
    delete share;
    return false;
  }
  return napi_set_named_property(env, object, name, function) == napi_ok;
}

}  // namespace

Napi::Value IntelSvm::createWaiter(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto records = memories_.Read(env, info[0], "records");
  if (!records) return {};
  const auto stride = ReadInteger(env, info[1], "stride", 1, kMaxSafeInteger);
  if (!stride) return {};
  if (!info[2].IsFunction()) {
    ThrowInvalidArgType(env, "onWake", "a function", info[2]);
    return {};
  }
  const std::shared_ptr<Allocation> memory = allocations_->Find(records->data, records->length);
  if (memory == nullptr) {
    ThrowInvalidArgValue(env, "records", "must be memory of alloc, and not empty");
    return {};
  }
  const size_t slots = (records->length - 1) / *stride + 1;
  if (slots > kMostSlots) {
    ThrowInvalidArgValue(env, "records", "has more than 2^20 slots");
    return {};
  }
  if (memory->protection() == SVM_PROT_NONE) {
    ThrowSystemError(env, -EFAULT, "wait");
    return {};
  }
  if (!waiterThread_.isOpen()) {
    if (!waiterThread_.Open()) return {};
    guard_.GoBeforeHooks(env);
  }

  const auto waiter = std::make_shared<Waiter>(&waiterThread_, Hold(memory, Hold::Kind::kReader));
  waiter->bytes = records->data;
  waiter->stride = *stride;
  waiter->slots = static_cast<uint32_t>(slots);
  waiter->watched.resize(slots);

  napi_value buffer = nullptr;
  napi_value completed = nullptr;
  napi_value object = nullptr;
  const size_t bytes = slots * sizeof(int32_t);
  if (napi_create_arraybuffer(env, bytes, nullptr, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_int32_array, slots, buffer, 0, &completed) != napi_ok ||
      napi_create_object(env, &object) != napi_ok ||
      napi_set_named_property(env, object, "completed", completed) != napi_ok ||
      !DefineMethod(env, object, "watch", Watch, waiter) ||
      !DefineMethod(env, object, "close", intel_svm::Close, waiter)) {
    ThrowLastError(env);
    return {};
  }
  waiter->onWake = Napi::Persistent(info[2].As<Napi::Function>());
  waiter->completed = Napi::Persistent(Napi::Object(env, completed));
  waiterThread_.Add(waiter);
  return {env, object};
}

}  // namespace intel_svm
