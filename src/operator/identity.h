// SPDX-License-Identifier: Apache-2.0
/* Who a replica is, in leases and events. */
#ifndef PODVISOR_OPERATOR_IDENTITY_H
#define PODVISOR_OPERATOR_IDENTITY_H

/*
 * "HOST_UUID" for free(), as controller-runtime makes it (pkg/leaderelection): a container that is
 * started again is another one, although its host name and process number are the same.
 */
char *operator_identity(void);

#endif
