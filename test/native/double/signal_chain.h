/* A signal that one handler does not know goes to the handler that stood before. */
#ifndef SVM_DOUBLE_SIGNAL_CHAIN_H
#define SVM_DOUBLE_SIGNAL_CHAIN_H

#include <signal.h>

static inline void pass_signal_on(const struct sigaction* before, int number, siginfo_t* info,
                                  void* context) {
  if ((before->sa_flags & SA_SIGINFO) != 0) {
    before->sa_sigaction(number, info, context);
  } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
    before->sa_handler(number);
  } else {
    /* A fault comes again when its instruction is repeated, and then ends the process. */
    (void)signal(number, SIG_DFL);
    if (info->si_code <= 0) (void)raise(number);
  }
}

#endif
