/*
 * The model that is measured, as its server tells of it.
 */
#ifndef HIPPOCAMP_MEASURE_TARGET_H
#define HIPPOCAMP_MEASURE_TARGET_H

#include "measure/client.h"
#include "wire/model_statistics.h"

struct target {
	struct loop *loop;
	struct client *client;
	struct bytes name;
	struct bytes version;	    /* empty: the server chooses */
	struct model_config config; /* as clients see the model */
	bool is_cached;		    /* its configuration asks for the response cache */
	bool has_statistics;	    /* the server has Triton's statistics */
};

/*
 * Asks the server about the model. `target` has its first four members. Fails if the model cannot be measured: it is
 * not there, decoupled or has sequences.
 */
enum status target_open(struct target *target, struct error *error);
void target_close(struct target *target);

/* Asks what the server has counted; zeros if it counts nothing. */
enum status target_statistics(struct target *target, struct model_statistics *statistics, struct error *error);

#endif
