/*
 * How many inference requests each replica has answered, by model and version. The replica's own statistics must have
 * counted at least as many since: if they have not, it has loaded the model again. Any thread.
 */
#ifndef HIPPOCAMP_UPSTREAM_LEDGER_H
#define HIPPOCAMP_UPSTREAM_LEDGER_H

#include "base/bytes.h"

struct ledger;

struct ledger *ledger_new(size_t replicas);
void ledger_free(struct ledger *ledger);

void ledger_add(struct ledger *ledger, struct bytes model, int64_t version, size_t replica);
uint64_t ledger_count(struct ledger *ledger, struct bytes model, int64_t version, size_t replica);

#endif
