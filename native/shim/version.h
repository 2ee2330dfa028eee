/*
 * The version of the shim's C interface, that is of every declaration in this folder's headers.
 * It grows by one with each change after which code compiled against the older headers would
 * misbehave: a changed signature, layout, errno or ownership rule. An added function keeps it.
 */
#ifndef SVM_SHIM_VERSION_H
#define SVM_SHIM_VERSION_H

#define SVM_SHIM_ABI_VERSION 1

#endif
