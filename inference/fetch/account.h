/* Counts requests, fetches and store events in the statistics of their model. */
#ifndef HIPPOCAMP_INFERENCE_FETCH_ACCOUNT_H
#define HIPPOCAMP_INFERENCE_FETCH_ACCOUNT_H

#include "inference/fetch/fetch.h"

/* Counts an answered request, wherever its answer came from. */
void account_request(struct engine_lane *lane, struct inference_request *request);
void account_insert(struct fetch *fetch, const struct blob *entry, uint64_t ns);
void account_corrupt(struct engine_lane *lane, struct model *model, bool wrong_mac);
void account_too_large(struct engine_lane *lane, struct model *model);
void account_leases(struct fetch *fetch, const struct lease_statistics *counts);
void account_refreshes(struct engine_lane *lane, struct model *model, size_t rows);

/* Updates the moving average of a row's cost. */
void account_lookup_cost(struct model *model, uint64_t ns, size_t rows);

#endif
